/** Every video: seen, searched, filtered, and acted on by the dozen. */
import { ActionIcon, Button, Checkbox, CloseButton, Menu, Select, TextInput, Tooltip } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useRouterState, useSearch } from "@tanstack/react-router";
import { ChevronDown, LayoutGrid, List, Play, Search, Tag, Trash2, Upload, UploadCloud } from "lucide-react";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { type Video } from "../api/client";
import { pipelinesQuery, videosQuery } from "../api/queries";
import { useKeys } from "../lib/keys";
import { ago, bytes, exactly, timecode } from "../lib/time";
import type { LibrarySearch } from "../router";
import { ErrorCard } from "../ui/ErrorCard";
import { Empty, Page, Skeleton } from "../ui/Page";
import { Status, type Standing } from "../ui/Status";
import { chooseFiles } from "../uploads/choose";
import { deleteVideos } from "./library/actions";
import { Poster } from "./library/Poster";
import classes from "./Library.module.css";

declare module "@tanstack/history" {
  interface HistoryState {
    /** One came here to search. */
    searching?: boolean;
  }
}

const RunOnMany = lazy(() => import("./library/RunOnMany"));

const STATES = [
  { value: "", label: "All states" },
  { value: "pending", label: "Uploaded" },
  { value: "processing", label: "Processing" },
  { value: "completed", label: "Ready" },
  { value: "failed", label: "Failed" },
];

/** How a video stands: its upload first, then the newest job on it. */
export function standing(video: Video): Standing {
  if (video.upload_status !== "uploaded" && video.upload_status !== "gone") return video.upload_status;
  return video.processing_status === "pending" ? "uploaded" : video.processing_status;
}

export function Library() {
  const search = useSearch({ from: "/frame/" });
  const navigate = useNavigate({ from: "/" });
  const set = useCallback((change: LibrarySearch) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true }), [navigate]);
  const videos = useInfiniteQuery(videosQuery({ ...(search.status ? { processing: search.status } : {}), ...(search.upload ? { upload: search.upload } : {}), ...(search.label ? { labels: search.label } : {}) }));
  const all = useMemo(() => videos.data?.pages.flatMap((page) => page.items) ?? [], [videos.data]);
  const words = (search.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const shown = all.filter((video) => {
    const text = `${video.filename} ${Object.entries(video.labels).flat().join(" ")} ${video.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = videos;
  // What is searched for may be on a later page.
  useEffect(() => {
    if (words.length && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [words.length, hasNextPage, isFetchingNextPage, fetchNextPage]);

  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [running, setRunning] = useState<string | null>(null);
  const last = useRef<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  // The address follows what is typed; going back and forth, the field follows the address.
  const [typed, setTyped] = useState(search.q ?? "");
  const type = (text: string) => {
    setTyped(text);
    set({ q: text || undefined });
  };
  useEffect(() => {
    if (document.activeElement !== field.current) setTyped(search.q ?? "");
  }, [search.q]);
  const searching = useRouterState({ select: (state) => state.location.state.searching });
  useEffect(() => {
    if (searching) field.current?.focus();
  }, [searching]);
  const chosen = shown.filter((video) => picked.has(video.id));
  const pipelines = useQuery({ ...pipelinesQuery, enabled: picked.size > 0 });

  const pick = (id: string, range: boolean) => {
    setPicked((before) => {
      const after = new Set(before);
      const from = range && last.current ? shown.findIndex((one) => one.id === last.current) : -1;
      const to = shown.findIndex((one) => one.id === id);
      if (from >= 0 && to >= 0) for (const one of shown.slice(Math.min(from, to), Math.max(from, to) + 1)) after.add(one.id);
      else if (!after.delete(id)) after.add(id);
      return after;
    });
    last.current = id;
  };
  const clear = () => setPicked(new Set());
  const remove = () => {
    deleteVideos(chosen);
    clear();
  };
  const focused = () => document.activeElement?.closest<HTMLElement>("[data-video]")?.dataset.video;

  useKeys([
    { keys: "/", label: "Search the library", group: "Library", run: () => field.current?.focus() },
    { keys: "x", label: "Pick the video in focus", group: "Library", quiet: true, run: () => { const id = focused(); if (id) pick(id, false); } },
    { keys: "mod+a", label: "Pick all videos", group: "Library", quiet: true, run: () => setPicked(new Set(shown.map((one) => one.id))) },
    { keys: "delete", label: "Delete what is picked", group: "Library", quiet: true, disabled: chosen.length === 0, run: remove },
    { keys: "escape", label: "Pick nothing", group: "Library", quiet: true, disabled: chosen.length === 0, run: clear },
    { keys: "v", label: "Grid or list", group: "Library", run: () => set({ view: search.view ? undefined : "list" }) },
  ]);

  const more = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const watched = more.current;
    if (!watched) return undefined;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && hasNextPage && !isFetchingNextPage && void fetchNextPage(), { rootMargin: "600px" });
    observer.observe(watched);
    return () => observer.disconnect();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);

  const labels = [...new Set(all.flatMap((video) => Object.entries(video.labels).map(([name, value]) => `${name}:${value}`)))].sort();
  const filtered = Boolean(search.q || search.status || search.upload || search.label);
  const empty = videos.isSuccess && all.length === 0 && !filtered;

  return (
    <Page
      title="Library"
      lead={videos.isSuccess && !empty ? <span className="rm-num">{shown.length}{hasNextPage ? "+" : ""} {shown.length === 1 ? "video" : "videos"}</span> : undefined}
      actions={
        <Button leftSection={<Upload size={16} aria-hidden />} onClick={chooseFiles}>
          Upload
        </Button>
      }
    >
      {!empty && (
        <div className={classes.filters}>
          <TextInput
            ref={field}
            className={classes.search}
            placeholder="Search by name or label"
            aria-label="Search by name or label"
            leftSection={<Search size={15} aria-hidden />}
            value={typed}
            onChange={(event) => type(event.currentTarget.value)}
            rightSection={typed ? <CloseButton size="sm" aria-label="Search nothing" onClick={() => type("")} /> : null}
          />
          <Select className={classes.states} aria-label="State" data={STATES} value={search.status ?? ""} onChange={(value) => set({ status: (value || undefined) as LibrarySearch["status"] })} />
          {(labels.length > 0 || search.label) && (
            <Menu position="bottom-start">
              <Menu.Target>
                <Button variant="default" leftSection={<Tag size={15} aria-hidden />} rightSection={<ChevronDown size={14} aria-hidden />}>
                  {search.label?.join(", ") ?? "Label"}
                </Button>
              </Menu.Target>
              <Menu.Dropdown mah={320} style={{ overflowY: "auto" }}>
                {search.label && <Menu.Item onClick={() => set({ label: undefined })}>Any label</Menu.Item>}
                {labels.map((one) => (
                  <Menu.Item key={one} onClick={() => set({ label: [one] })}>
                    {one.replace(":", " = ")}
                  </Menu.Item>
                ))}
              </Menu.Dropdown>
            </Menu>
          )}
          <Tooltip label={search.view ? "As a grid" : "As a list"}>
            <ActionIcon size={36} variant="default" aria-label={search.view ? "Show as a grid" : "Show as a list"} onClick={() => set({ view: search.view ? undefined : "list" })}>
              {search.view ? <LayoutGrid size={16} /> : <List size={16} />}
            </ActionIcon>
          </Tooltip>
        </div>
      )}

      {videos.isError && <ErrorCard error={videos.error} onRetry={() => void videos.refetch()} />}
      {videos.isPending && (
        <div className={classes.grid}>
          {Array.from({ length: 8 }, (_, n) => (
            <Skeleton key={n} height={230} {...(n === 0 ? { what: "the library" } : {})} />
          ))}
        </div>
      )}
      {empty && <FirstVideo />}
      {videos.isSuccess && !empty && shown.length === 0 && !hasNextPage && (
        <Empty icon={<Search />} title="Nothing fits" actions={<Button variant="default" onClick={() => set({ q: undefined, status: undefined, upload: undefined, label: undefined })}>Show all videos</Button>}>
          No video is called so, or stands so.
        </Empty>
      )}
      {shown.length > 0 && (
        <ul className={search.view ? classes.list : classes.grid} data-picking={picked.size > 0 || undefined} aria-label="Videos">
          {shown.map((video) => (
            <Card key={video.id} video={video} picked={picked.has(video.id)} onPick={(range) => pick(video.id, range)} />
          ))}
        </ul>
      )}
      <div ref={more} />
      {isFetchingNextPage && <Skeleton height={120} what="more videos" />}

      {chosen.length > 0 && (
        <div className={classes.bulk} role="toolbar" aria-label="What to do with the picked videos">
          <strong className="rm-num">{chosen.length} picked</strong>
          <Menu position="top">
            <Menu.Target>
              <Button size="xs" variant="default" leftSection={<Play size={14} aria-hidden />} rightSection={<ChevronDown size={14} aria-hidden />}>
                Run
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              {pipelines.data?.items.map((one) => (
                <Menu.Item key={one.name} onClick={() => setRunning(one.name)}>
                  {one.title}
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>
          <Button size="xs" variant="default" leftSection={<Trash2 size={14} aria-hidden />} onClick={remove}>
            Delete
          </Button>
          <CloseButton aria-label="Pick nothing" onClick={clear} />
        </div>
      )}
      <Suspense fallback={null}>
        {running && <RunOnMany pipeline={running} videos={chosen} onClose={() => setRunning(null)} onDone={clear} />}
      </Suspense>
    </Page>
  );
}

function Card({ video, picked, onPick }: { video: Video; picked: boolean; onPick: (range: boolean) => void }) {
  const state = standing(video);
  return (
    <li className={classes.card} data-video={video.id} data-picked={picked || undefined}>
      <Poster video={video} className={classes.poster ?? ""}>
        {video.duration != null && <span className={`${classes.length} rm-num`}>{timecode(video.duration)}</span>}
      </Poster>
      <Checkbox
        className={classes.check}
        checked={picked}
        aria-label={`Pick ${video.filename}`}
        onChange={() => undefined}
        onClick={(event) => onPick(event.shiftKey)}
      />
      <div className={classes.words}>
        <Link to="/videos/$id" params={{ id: video.id }} className={`${classes.name} rm-clip`} title={video.filename}>
          {video.filename}
        </Link>
        <div className={classes.facts}>
          <Status of={state} />
          <span className="rm-num rm-clip">
            {[video.height ? `${Math.min(video.width ?? 0, video.height)}p` : null, bytes(video.size)].filter(Boolean).join(" · ")} · <time dateTime={video.created_at} title={exactly(video.created_at)}>{ago(video.created_at)}</time>
          </span>
        </div>
        {Object.keys(video.labels).length > 0 && (
          <div className={classes.labels}>
            {Object.entries(video.labels).slice(0, 4).map(([name, value]) => (
              <Link key={name} to="/" search={{ label: [`${name}:${value}`] }} className={classes.label}>
                {name} <b>{value}</b>
              </Link>
            ))}
          </div>
        )}
      </div>
    </li>
  );
}

function FirstVideo() {
  return (
    <div className={classes.first}>
      <Empty
        icon={<UploadCloud size={26} aria-hidden />}
        title="Drop your first video anywhere on this page"
        actions={
          <>
            <Button leftSection={<Upload size={16} aria-hidden />} onClick={chooseFiles}>
              Choose videos
            </Button>
            <Button variant="default" component={Link} to="/welcome">
              Check the installation
            </Button>
          </>
        }
      >
        It goes straight into your storage, in parallel parts, and goes on after a reload or a lost network. Or from a terminal:
        <pre className={classes.command}>reelmill upload film.mp4</pre>
      </Empty>
    </div>
  );
}
