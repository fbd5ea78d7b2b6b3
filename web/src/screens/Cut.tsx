/** New clips: where to cut, what to write, and the server's own plan of it, drawn while one types. */
import { ActionIcon, Button, Menu, Tooltip } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ArrowLeft, ChevronFirst, ChevronLast, MoreHorizontal, Pause, Play, Redo2, Repeat, StepBack, StepForward, Undo2, ZoomIn, ZoomOut } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { ApiError, api, body, type Video } from "../api/client";
import { soon } from "../api/live";
import { client, pipelinesQuery, videoQuery } from "../api/queries";
import classes from "../clips/Clips.module.css";
import { ClipTable } from "../clips/ClipTable";
import { ClipTimeline, type Edge, useZoom } from "../clips/ClipTimeline";
import { CuttingPanel, waysOf } from "../clips/CuttingPanel";
import { cuttingOf, clipAt, type Draft, equalMarks, firstDraft, frameLength, keepDraft, marksOf, merge, moveEdge, type Params, type Planned, readDraft, SHORTEST_S, split, sums, textAt, textOf } from "../clips/draft";
import { useHistory } from "../clips/history";
import { planQuery, playQuery, posterOf, waveformQuery } from "../clips/queries";
import { core, type Field } from "../clips/SchemaFields";
import { PreviewFrame, StylePanel } from "../clips/StylePanel";
import { TextPanel } from "../clips/TextPanel";
import { TimeField } from "../clips/TimeField";
import { useKeys } from "../lib/keys";
import { bytes, roughly, timecode } from "../lib/time";
import { useStable } from "../lib/useStable";
import { useFilm } from "../player/useFilm";
import { ErrorCard } from "../ui/ErrorCard";
import { Empty, Page, Skeleton } from "../ui/Page";
import { done } from "../ui/toast";

export function CutPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const video = useQuery(videoQuery(id));
  if (video.error) {
    return (
      <Page title="New clips">
        <ErrorCard error={video.error} onRetry={() => void video.refetch()} />
      </Page>
    );
  }
  if (!video.data) {
    return (
      <Page title="New clips">
        <Skeleton height={360} what="the video" />
      </Page>
    );
  }
  if (video.data.upload_status !== "uploaded" || !video.data.duration) {
    return (
      <Page title="New clips">
        <Empty title="There is nothing to cut" actions={<Button component={Link} to="/" variant="default">To the library</Button>}>
          {video.data.upload_status === "gone" ? "The source of this video was removed." : "The upload of this video isn't finished."}
        </Empty>
      </Page>
    );
  }
  return <Editor key={id} video={video.data} duration={video.data.duration} />;
}

const NOTHING: Planned[] = [];

function fieldsOf(schema: Record<string, unknown> | undefined, name: string): Record<string, Field> {
  const defs = (schema?.$defs ?? {}) as Record<string, Field>;
  return defs[name]?.properties ?? {};
}

function Editor({ video, duration }: { video: Video; duration: number }) {
  const navigate = useNavigate();
  const history = useHistory<Draft>(() => readDraft(video.id) ?? firstDraft(duration));
  const { value: draft, change, undo, redo } = history;
  useEffect(() => keepDraft(video.id, draft), [draft, video.id]); // at once: the page may be reloaded at any moment

  const frame = frameLength(video.technical?.frame_rate);
  const aspect = (video.width ?? 16) / (video.height ?? 9);
  const control = useFilm(frame);
  const { zoom, nearer, farther } = useZoom();
  const [selected, setSelected] = useState(0);
  const [broken, setBroken] = useState(false);

  const pipelines = useQuery(pipelinesQuery);
  const schema = pipelines.data?.items.find((one) => one.name === "clips")?.params as Record<string, unknown> | undefined;
  const ways = useMemo(() => waysOf(schema), [schema]);
  const lookFields = useMemo(() => Object.fromEntries(Object.entries(fieldsOf(schema, "OneForAll")).map(([name, one]) => [name, core(one)])), [schema]);
  const videoFields = useMemo(() => Object.fromEntries(Object.entries(fieldsOf(schema, "VideoParams")).map(([name, one]) => [name, core(one)])), [schema]);
  const source = useQuery(playQuery(video.id));
  const waveform = useQuery(waveformQuery(video.id));

  // The cuts by themselves first: how many texts there must be follows from them.
  const cutting = useMemo(() => cuttingOf(draft), [draft.kind, draft.cuttings, draft.marks]);
  const [asked] = useDebouncedValue(cutting, 180);
  const plan = useQuery({ ...planQuery(video.id, asked && { cutting: asked }), placeholderData: keepPreviousData });
  const marked = draft.kind === "manual";
  const clips = useMemo<Planned[]>(() => {
    if (marked) return draft.marks.map((one, index) => ({ index, start_s: one.start, end_s: one.end }));
    return plan.error ? NOTHING : (plan.data?.clips ?? NOTHING);
  }, [marked, draft.marks, plan.data, plan.error]);
  const chosen = Math.min(selected, Math.max(0, clips.length - 1));
  const all = useMemo(() => sums(clips), [clips]);
  const unknown = !marked && plan.data !== undefined && !plan.data.clips && !plan.error;

  const params = useMemo<Params | null>(() => cutting && { cutting, text: textOf(draft, clips.length), ...(Object.keys(draft.video).length ? { video: draft.video } : {}) }, [cutting, draft, clips.length]);
  const [checkedParams] = useDebouncedValue(params, 500);
  const check = useQuery({ ...planQuery(video.id, checkedParams), enabled: checkedParams !== null && Boolean(checkedParams.text), placeholderData: undefined });
  const problem = (plan.error ?? check.error) as ApiError | null;
  const stale = plan.isPlaceholderData || asked !== cutting;

  const run = useMutation({
    mutationFn: () => body(api.POST("/api/v1/jobs", { body: { video_id: video.id, pipeline: "clips", params: params ?? {}, priority: 0, reuse: true } })),
    onSuccess: (job) => {
      soon(["jobs"], ["videos"], ["video", video.id]);
      const { job_id } = job as { job_id: string };
      void client.invalidateQueries({ queryKey: ["job", job_id] });
      void navigate({ to: "/jobs/$id", params: { id: job_id } });
    },
  });
  const ready = params !== null && !problem && !run.isPending && (clips.length > 0 || unknown);

  // ── what keys, buttons and the timeline do ──────────────────────────────────────────────────
  const mine = (told = true): boolean => {
    if (draft.kind === "manual") return true;
    if (!clips.length) return false;
    change((now) => ({ ...now, kind: "manual", marks: marksOf(clips) }));
    if (told) done("The cuts are yours now. Undo brings the rule back.");
    return true;
  };
  const marksNow = () => (draft.kind === "manual" ? draft.marks : marksOf(clips));
  const setMarks = (marks: typeof draft.marks, kind = "") => change((now) => ({ ...now, kind: "manual", marks }), kind);

  const onEdge = useStable((index: number, edge: Edge, seconds: number) => {
    const marks = marksNow();
    const one = marks[index];
    if (!one) return;
    const moved = moveEdge(one, edge, seconds, duration);
    setMarks(marks.map((mark, n) => (n === index ? moved : mark)), `edge-${index}-${edge}`);
    control.seek(edge === "start" ? moved.start : Math.max(moved.start, moved.end - frame));
  });
  const edgeHere = (edge: Edge) => {
    const marks = marksNow();
    const at = edge === "end" ? control.position + frame : control.position;
    const one = marks[chosen];
    const beside = edge === "start" ? one && at < one.end - SHORTEST_S : one && at > one.start + SHORTEST_S;
    if (one && beside) onEdge(chosen, edge, at);
    else if (edge === "start") markHere();
  };
  const markHere = () => {
    const start = Math.min(control.position, duration - SHORTEST_S);
    const marks = draft.kind === "manual" ? draft.marks : [];
    const next = marks.filter((one) => one.start > start + SHORTEST_S).reduce((near, one) => Math.min(near, one.start), duration);
    const made = { start, end: Math.min(next, start + Math.max(1, Math.min(10, duration / 4))) };
    const sorted = [...marks, made].sort((a, b) => a.start - b.start);
    setMarks(sorted);
    setSelected(sorted.indexOf(made));
  };
  const splitHere = () => {
    const at = clipAt(clips, control.position);
    const marks = split(marksNow(), at, control.position);
    if (marks) {
      setMarks(marks);
      setSelected(at + 1);
    }
  };
  const mergeNext = () => {
    const marks = merge(marksNow(), chosen);
    if (marks) setMarks(marks);
  };
  const onRemove = useStable((index: number) => {
    const marks = marksNow();
    if (!marks[index]) return;
    change((now) => ({ ...now, kind: "manual", marks: marks.filter((_, n) => n !== index), lines: now.lines.filter((_, n) => n !== index) }));
    setSelected(Math.max(0, Math.min(index, marks.length - 2)));
  });
  const onSelect = useStable((index: number) => setSelected(index));
  const goTo = (index: number) => {
    const to = Math.min(clips.length - 1, Math.max(0, index));
    setSelected(to);
    const clip = clips[to];
    if (clip) control.seek(clip.start_s);
  };
  const onPlay = useStable((index: number) => {
    const clip = clips[index];
    setSelected(index);
    if (clip) control.playSpan(clip.start_s, clip.end_s);
  });
  const reroll = () => change((now) => ({ ...now, cuttings: { ...now.cuttings, random: { ...now.cuttings.random, seed: Math.floor(Math.random() * 2 ** 40) } } }));
  const onSeek = useStable((seconds: number) => control.seek(seconds));
  const nudge = (edge: Edge, frames: number) => {
    const clip = clips[chosen];
    if (clip) onEdge(chosen, edge, (edge === "start" ? clip.start_s : clip.end_s) + frames * frame);
  };
  const writeText = () => {
    if (draft.strategy !== "own" && draft.strategy !== "vary") change((now) => ({ ...now, strategy: "own" }));
    requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>(`[data-text="${chosen}"]`)?.focus());
  };

  useKeys([
    { keys: ["space", "k"], label: "Play or pause", group: "Player", run: control.toggle, quiet: true },
    { keys: "j", label: "Slower", group: "Player", run: () => control.faster(-1), quiet: true },
    { keys: "l", label: "Faster", group: "Player", run: () => control.faster(1), quiet: true },
    { keys: "arrowleft", label: "One frame back", group: "Player", run: () => control.step(-1), quiet: true },
    { keys: "arrowright", label: "One frame on", group: "Player", run: () => control.step(1), quiet: true },
    { keys: "shift+arrowleft", label: "One second back", group: "Player", run: () => control.seek(control.position - 1), quiet: true },
    { keys: "shift+arrowright", label: "One second on", group: "Player", run: () => control.seek(control.position + 1), quiet: true },
    { keys: "i", label: "Clip begins here", group: "Cuts", run: () => edgeHere("start") },
    { keys: "o", label: "Clip ends here", group: "Cuts", run: () => edgeHere("end") },
    { keys: "n", label: "New mark here", group: "Cuts", run: markHere },
    { keys: "s", label: "Split here", group: "Cuts", run: splitHere },
    { keys: "m", label: "Join with the next clip", group: "Cuts", run: mergeNext },
    { keys: ["delete", "backspace"], label: "Remove the clip", group: "Cuts", run: () => onRemove(chosen) },
    { keys: "arrowup", label: "Previous clip", group: "Cuts", run: () => goTo(chosen - 1), quiet: true },
    { keys: "arrowdown", label: "Next clip", group: "Cuts", run: () => goTo(chosen + 1), quiet: true },
    { keys: "[", label: "Start one frame earlier", group: "Cuts", run: () => nudge("start", -1), quiet: true },
    { keys: "]", label: "End one frame later", group: "Cuts", run: () => nudge("end", 1), quiet: true },
    { keys: "{", label: "Start ten frames earlier", group: "Cuts", run: () => nudge("start", -10), quiet: true },
    { keys: "}", label: "End ten frames later", group: "Cuts", run: () => nudge("end", 10), quiet: true },
    { keys: "r", label: "Roll another seed", group: "Cuts", run: reroll, disabled: draft.kind !== "random" },
    { keys: "enter", label: "Write the clip's text", group: "Texts", run: writeText, quiet: true },
    { keys: ["+", "="], label: "Zoom in", group: "Cuts", run: nearer, quiet: true },
    { keys: "-", label: "Zoom out", group: "Cuts", run: farther, quiet: true },
    { keys: "mod+z", label: "Undo", group: "General", run: undo, whileTyping: true },
    { keys: ["mod+shift+z", "mod+y"], label: "Redo", group: "General", run: redo, whileTyping: true },
    { keys: "mod+enter", label: "Make the clips", group: "General", run: () => ready && run.mutate(), whileTyping: true },
  ]);

  const clip = clips[chosen];
  const estimate = useEstimate(video, duration, all.seconds);
  const text = textAt(draft, chosen);
  return (
    <div className={classes.editor}>
      <h1 className="rm-hidden">New clips of {video.filename}</h1>
      <TitleOf name={video.filename} />
      <header className={classes.top}>
        <ActionIcon component={Link} {...({ to: "/videos/$id", params: { id: video.id } } as object)} aria-label="Back to the video">
          <ArrowLeft size={18} />
        </ActionIcon>
        <p className={classes.name} title={video.filename}>{video.filename}</p>
        <Tooltip label="Undo (Ctrl Z)">
          <ActionIcon aria-label="Undo" disabled={!history.canUndo} onClick={undo}>
            <Undo2 size={17} />
          </ActionIcon>
        </Tooltip>
        <Tooltip label="Redo">
          <ActionIcon aria-label="Redo" disabled={!history.canRedo} onClick={redo}>
            <Redo2 size={17} />
          </ActionIcon>
        </Tooltip>
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon aria-label="More">
              <MoreHorizontal size={18} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item onClick={() => { change(() => firstDraft(duration)); setSelected(0); }}>Begin anew</Menu.Item>
            <Menu.Item disabled={marked || !clips.length} onClick={() => mine()}>Make these cuts my own</Menu.Item>
            <Menu.Item onClick={() => void navigate({ to: "/videos/$id/run", params: { id: video.id }, search: { pipeline: "clips" } })}>All parameters</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </header>

      <div className={classes.stage}>
        <div className={classes.screen}>
          {/* biome-ignore lint: the source has no captions */}
          <video
            ref={control.attach}
            src={source.data?.url}
            poster={posterOf(video.id, 960)}
            preload="metadata"
            playsInline
            muted={false}
            style={{ aspectRatio: aspect }}
            onClick={control.toggle}
            onError={() => source.data && setBroken(true)}
            onLoadedMetadata={() => setBroken(false)}
            aria-label={video.filename}
          />
          {broken && (
            <p className={classes.broken} role="status">
              This browser can't play the source ({video.technical?.video_codec ?? "unknown codec"}). The pictures below still show where to cut.
            </p>
          )}
        </div>
        <div className={classes.transport}>
          <Tooltip label="Previous clip (↑)"><ActionIcon aria-label="Previous clip" onClick={() => goTo(chosen - 1)}><ChevronFirst size={18} /></ActionIcon></Tooltip>
          <Tooltip label="Frame back (←)"><ActionIcon aria-label="One frame back" onClick={() => control.step(-1)}><StepBack size={17} /></ActionIcon></Tooltip>
          <ActionIcon aria-label={control.playing ? "Pause" : "Play"} variant="filled" color="iris" radius="xl" size={38} onClick={control.toggle}>
            {control.playing ? <Pause size={18} fill="currentColor" /> : <Play size={18} fill="currentColor" />}
          </ActionIcon>
          <Tooltip label="Frame on (→)"><ActionIcon aria-label="One frame on" onClick={() => control.step(1)}><StepForward size={17} /></ActionIcon></Tooltip>
          <Tooltip label="Next clip (↓)"><ActionIcon aria-label="Next clip" onClick={() => goTo(chosen + 1)}><ChevronLast size={18} /></ActionIcon></Tooltip>
          <TimeField label="Playhead" value={control.position} onChange={control.seek} style={{ width: 96 }} />
          <span className={classes.of}>of {timecode(duration, 2)}{control.rate !== 1 && ` · ${control.rate}×`}</span>
          <span className={classes.gap} />
          <Tooltip label="Clip begins at the playhead (I)"><Button size="compact-sm" variant="default" onClick={() => edgeHere("start")}>Set in</Button></Tooltip>
          <Tooltip label="Clip ends at the playhead (O)"><Button size="compact-sm" variant="default" onClick={() => edgeHere("end")}>Set out</Button></Tooltip>
          <Tooltip label="Split at the playhead (S)"><Button size="compact-sm" variant="default" onClick={splitHere}>Split</Button></Tooltip>
          <Tooltip label="Play this clip"><ActionIcon aria-label="Play this clip" disabled={!clip} onClick={() => onPlay(chosen)}><Repeat size={16} /></ActionIcon></Tooltip>
          <Tooltip label="Zoom out (-)"><ActionIcon aria-label="Zoom out" disabled={zoom === 1} onClick={farther}><ZoomOut size={17} /></ActionIcon></Tooltip>
          <Tooltip label="Zoom in (+)"><ActionIcon aria-label="Zoom in" disabled={zoom === 8} onClick={nearer}><ZoomIn size={17} /></ActionIcon></Tooltip>
        </div>
        <ClipTimeline
          videoId={video.id}
          {...{ duration, aspect, frame, clips, onSelect, onSeek, onEdge, zoom, stale }}
          selected={chosen}
          position={control.position}
          peaks={waveform.data?.peaks}
        />
        {unknown ? (
          <Empty title="The cuts follow when the job has looked at the film">
            {plan.data?.note ?? "This way of cutting measures the film first. Analyse the video, and the cuts are drawn here."}
          </Empty>
        ) : (
          <ClipTable {...{ clips, draft, onSelect, change, onEdge, onRemove, onPlay }} selected={chosen} />
        )}
      </div>

      <aside className={classes.side} aria-label="Settings">
        <CuttingPanel
          ways={ways}
          draft={draft}
          seed={plan.data?.seed}
          onKind={(kind) => {
            if (kind === "manual") mine(false) || change((now) => ({ ...now, kind }));
            else change((now) => ({ ...now, kind }));
            setSelected(0);
          }}
          onCutting={(kind, value, name) => change((now) => ({ ...now, cuttings: { ...now.cuttings, [kind]: value } }), `cutting-${name}`)}
          onReroll={reroll}
          onMark={markHere}
          error={plan.error}
        />
        <TextPanel draft={draft} count={clips.length} shortest={all.shortest} change={change} onCount={(count) => setMarks(equalMarks(duration, count))} />
        {draft.strategy !== "none" && (
          <>
            <StylePanel
              look={draft.look}
              video={draft.video}
              lookFields={lookFields}
              videoFields={videoFields}
              onLook={(look, kind) => change((now) => ({ ...now, look }), kind ? `look-${kind}` : "")}
              onVideo={(one) => change((now) => ({ ...now, video: one }))}
            />
            {clip && <PreviewFrame videoId={video.id} text={text} look={draft.look} video={draft.video} start={clip.start_s} end={clip.end_s} aspect={aspect} name={`clip ${chosen + 1}`} />}
          </>
        )}
      </aside>

      <footer className={classes.foot}>
        {problem && !plan.error && <div className={classes.refused}><ErrorCard error={problem} compact /></div>}
        {run.error && <div className={classes.refused}><ErrorCard error={run.error} compact onRetry={() => run.mutate()} /></div>}
        <p className={classes.sum} role="status" aria-live="polite">
          {unknown ? "As many clips as are found" : clips.length ? (
            <>
              <strong>{clips.length} {clips.length === 1 ? "clip" : "clips"}</strong>
              <span>{timecode(all.seconds, 1)} in all</span>
              <span>{all.count > 1 ? `${all.shortest.toFixed(1)}–${all.longest.toFixed(1)} s each` : ""}</span>
              <span>about {bytes(estimate.bytes)}</span>
              <span>{estimate.seconds === null ? "time: told after your first job" : `about ${roughly(estimate.seconds)}`}</span>
            </>
          ) : stale && !plan.error ? "Planning …" : "No clips yet"}
        </p>
        <Button size="md" disabled={!ready} loading={run.isPending} onClick={() => run.mutate()}>
          {unknown || !clips.length ? "Make clips" : `Make ${clips.length} ${clips.length === 1 ? "clip" : "clips"}`}
        </Button>
      </footer>
    </div>
  );
}

function TitleOf({ name }: { name: string }) {
  useEffect(() => {
    document.title = `New clips · ${name} · Reelmill`;
  }, [name]);
  return null;
}

/** Bytes from the source's own rate; seconds from what the newest jobs of this kind took for each second of film. */
function useEstimate(video: Video, duration: number, seconds: number): { bytes: number; seconds: number | null } {
  const jobs = useQuery({
    queryKey: ["pace", "clips"],
    staleTime: 120_000,
    queryFn: async ({ signal }) => {
      const page = await body(api.GET("/api/v1/jobs", { signal, params: { query: { pipeline: "clips", status: "completed", limit: 5 } } }));
      const newest = page.items[0];
      if (!newest?.started_at || !newest.completed_at) return null;
      const told = await body(api.GET("/api/v1/jobs/{job_id}", { signal, params: { path: { job_id: newest.job_id } } }));
      const made = told.steps.map((one) => Number(one.output?.clip_duration_s ?? 0)).reduce((a, b) => a + b, 0);
      const took = (Date.parse(newest.completed_at) - Date.parse(newest.started_at)) / 1000;
      return made > 0 ? took / made : null;
    },
  });
  const rate = video.size / duration;
  const once = useRef(jobs.data);
  if (jobs.data !== undefined) once.current = jobs.data;
  return { bytes: rate * seconds, seconds: once.current ? Math.max(1, once.current * seconds) : null };
}

