/** A film of the library, found by its name. */
import { Group, Select } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { videosQuery } from "../api/queries";
import { posterOf } from "../clips/queries";
import { timecode } from "../lib/time";
import classes from "./Making.module.css";

/** Films that are there and can be looked at. */
export function useFilms() {
  const videos = useInfiniteQuery(videosQuery({ upload: "uploaded" }));
  return { pending: videos.isPending, error: videos.error, films: videos.data?.pages.flatMap((page) => page.items).filter((one) => one.duration) ?? [] };
}

interface Props {
  label: string;
  description?: string;
  value: string | null;
  onChange: (id: string | null) => void;
  clearable?: boolean;
  error?: string;
}

export function FilmSelect({ label, description, value, onChange, clearable = false, error }: Props) {
  const { films, pending } = useFilms();
  const known = new Map(films.map((one) => [one.id, one]));
  // One beyond the newest sixty, or one that was removed since, keeps its place.
  const data = [...films.map((one) => ({ value: one.id, label: one.filename })), ...(value && !known.has(value) && !pending ? [{ value, label: "Another film" }] : [])];
  return (
    <Select
      label={label}
      description={description}
      placeholder={pending ? "Loading …" : films.length ? "Choose a film" : "There is no film yet: upload one"}
      data={data}
      value={value}
      onChange={onChange}
      searchable
      clearable={clearable}
      error={error}
      nothingFoundMessage="No film is called so."
      comboboxProps={{ keepMounted: false }} // else every film's picture is fetched at once
      maxDropdownHeight={320}
      renderOption={({ option }) => {
        const film = known.get(option.value);
        return (
          <Group gap={10} wrap="nowrap">
            <img className={classes.filmIcon} src={posterOf(option.value, 160)} alt="" loading="lazy" />
            <span className="rm-clip" style={{ flex: 1 }}>{option.label}</span>
            {film?.duration != null && <span className="rm-dim rm-num">{timecode(film.duration)}</span>}
          </Group>
        );
      }}
    />
  );
}
