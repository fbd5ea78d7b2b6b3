/** Ctrl-K: every page, every key's action, and videos by name. */
import "@mantine/spotlight/styles.css";
import { Kbd } from "@mantine/core";
import { createSpotlight, Spotlight } from "@mantine/spotlight";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Film, Search } from "lucide-react";
import { useEffect, useState } from "react";
import { videosQuery } from "../api/queries";
import { shown, useBindings } from "../lib/keys";
import { timecode } from "../lib/time";

const [store, spotlight] = createSpotlight();

export default function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const bindings = useBindings();
  const videos = useInfiniteQuery(videosQuery());
  const [query, setQuery] = useState("");
  useEffect(() => spotlight.open(), []);

  const wanted = query.trim().toLowerCase();
  const fits = (text: string) => wanted.split(/\s+/).every((word) => text.toLowerCase().includes(word));
  const actions = bindings.filter((one) => !one.quiet && !one.disabled && fits(one.label)).slice(0, 12);
  const films = (videos.data?.pages.flatMap((page) => page.items) ?? []).filter((one) => fits(`${one.filename} ${Object.values(one.labels).join(" ")}`)).slice(0, 8);

  return (
    <Spotlight.Root store={store} query={query} onQueryChange={setQuery} onSpotlightClose={onClose} shortcut={null} scrollable maxHeight={420} radius="lg">
      <Spotlight.Search placeholder="Find a video, go somewhere, do something" aria-label="Find" leftSection={<Search size={17} aria-hidden />} />
      <Spotlight.ActionsList>
        {actions.length > 0 && (
          <Spotlight.ActionsGroup label="Do">
            {actions.map((one) => (
              <Spotlight.Action
                key={one.label}
                label={one.label}
                onClick={() => one.run()}
                rightSection={<Kbd size="xs">{shown([one.keys].flat()[0] ?? "").map((combo) => combo.join(" ")).join(" ")}</Kbd>}
              />
            ))}
          </Spotlight.ActionsGroup>
        )}
        {films.length > 0 && (
          <Spotlight.ActionsGroup label="Videos">
            {films.map((one) => (
              <Spotlight.Action
                key={one.id}
                label={one.filename}
                description={one.duration == null ? undefined : timecode(one.duration)}
                leftSection={<Film size={16} aria-hidden />}
                onClick={() => void navigate({ to: "/videos/$id", params: { id: one.id } })}
              />
            ))}
          </Spotlight.ActionsGroup>
        )}
        {actions.length + films.length === 0 && <Spotlight.Empty>Nothing is called so.</Spotlight.Empty>}
      </Spotlight.ActionsList>
    </Spotlight.Root>
  );
}
