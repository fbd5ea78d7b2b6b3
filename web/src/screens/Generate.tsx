/** Generate: words become a storyboard of true pictures, and that a film. A finished one is opened again, scene by scene. */
import { ActionIcon, Button, Menu, NumberInput, SegmentedControl, Textarea, TextInput, Tooltip } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Clapperboard, MoreHorizontal, Plus, Redo2, Undo2 } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { type ApiError, api, body } from "../api/client";
import { soon } from "../api/live";
import { jobQuery } from "../api/queries";
import editor from "../clips/Clips.module.css";
import { useHistory } from "../clips/history";
import { isOpen } from "../jobs/actions";
import { useKeys } from "../lib/keys";
import { AS_WRITTEN } from "../lib/text";
import { timecode } from "../lib/time";
import { useStable } from "../lib/useStable";
import { FilmPanel } from "../making/FilmPanel";
import { MadeFilm } from "../making/MadeFilm";
import classes from "../making/Making.module.css";
import { filmPlanQuery, scriptOf } from "../making/queries";
import { RATIOS, ScenePanel } from "../making/ScenePanel";
import { type Draft, EMPTY, faultsOf, filmKey, type From, keepDraft, type Made, moved, NEW, newScenes, openScript, ownScenes, paramsOf, type Planned, readDraft, type Scene, sceneKey, sceneParams, scenesOf } from "../making/script";
import { Row, type State } from "../making/Storyboard";
import { ErrorCard } from "../ui/ErrorCard";
import { done } from "../ui/toast";

const NOTHING: Planned[] = [];
const WAYS: { value: From; label: string }[] = [
  { value: "script", label: "Script" },
  { value: "topic", label: "Topic" },
  { value: "scenes", label: "Scenes" },
];
const EXAMPLE = "# The lake\n\nA small lake lies in the forest. Every morning, birds sing above the water.\n\nIn winter it is frozen, and children come with their skates.\n\n# Come and see";

export function GeneratePage() {
  const navigate = useNavigate();
  const { job: wanted } = useSearch({ strict: false }) as { job?: string };
  const [kept] = useState(readDraft);
  const history = useHistory<Draft>(() => kept.draft);
  const { value: draft, change, undo, redo } = history;
  const [made, setMade] = useState<Made | null>(kept.made);
  const [selected, setSelected] = useState(0);
  useEffect(() => keepDraft(draft, made), [draft, made]); // at once: the page may be reloaded at any moment
  useEffect(() => {
    document.title = "Generate · Reelmill";
  }, []);

  const unfinished = draft.from === "scenes" ? draft.scenes.findIndex((one) => one.background && "video_id" in one.background && !one.background.video_id) : -1;
  const params = useMemo(() => (unfinished < 0 ? paramsOf(draft) : null), [draft, unfinished]);
  const [asked] = useDebouncedValue(params, 300);
  const plan = useQuery({ ...filmPlanQuery(asked), placeholderData: keepPreviousData });
  const problem = params ? (plan.error as ApiError | null) : null;
  const planned = params && plan.data && draft.from !== "topic" ? plan.data.scenes : NOTHING;
  const stale = asked !== params || plan.isPlaceholderData;
  const scenes = draft.from === "scenes" ? draft.scenes : draft.from === "script" ? scenesOf(problem ? NOTHING : planned) : [];
  // While one types, the newest plan may be of fewer or other scenes: backgrounds are taken by place.
  const shown = useMemo(() => scenes.map((one, n) => JSON.stringify(sceneParams({ ...one, background: one.background ?? planned[n]?.background ?? null }))), [scenes, planned]);
  const faults = useMemo(() => faultsOf(problem), [problem]);
  const chosen = Math.min(selected, Math.max(0, scenes.length - 1));

  const job = useQuery({ ...jobQuery(made?.job ?? ""), enabled: made !== null, refetchInterval: (query) => (query.state.data && isOpen(query.state.data.status) ? 1500 : false) });
  const working = job.data !== undefined && isOpen(job.data.status);
  const fresh = useMemo(() => newScenes(shown.map((one, n) => ({ ...(JSON.parse(one) as Planned), estimated_s: planned[n]?.estimated_s ?? 0 })), draft.film, made), [shown, planned, draft.film, made]);
  const count = fresh.filter(Boolean).length;

  const open = useMutation({
    mutationFn: scriptOf,
    onSuccess: (told, jobId) => {
      const opened = openScript(told);
      change(() => opened.draft);
      setMade({ job: jobId, ...opened.made });
      setSelected(0);
    },
  });
  useEffect(() => {
    if (!wanted) return;
    open.mutate(wanted);
    void navigate({ to: "/generate", search: {}, replace: true });
  }, [wanted, navigate, open.mutate]);

  const render = useMutation({
    mutationFn: () => body(api.POST("/api/v1/videos/generate", { body: { params: params ?? {}, pipeline: "generate", priority: 0 } })),
    onSuccess: (reply) => {
      const { job_id } = reply as { job_id: string };
      setMade({ job: job_id, film: filmKey(draft.film), scenes: planned.map(sceneKey) });
      soon(["jobs"], ["videos"]);
      document.getElementById("film")?.scrollIntoView({ block: "nearest" });
    },
  });
  const ready = params !== null && !problem && !stale && !render.isPending && !working;

  // ── what keys, rows and buttons do ──────────────────────────────────────────────────────────
  const edit = (make: (scenes: Scene[]) => Scene[], kind = "") => {
    change((now) => ({ ...now, from: "scenes", scenes: make(now.from === "scenes" ? ownScenes(now, stale ? NOTHING : planned) : scenes) }), kind);
    if (draft.from === "script") done("The scenes are yours now. Undo brings the script back.");
  };
  const onChange = useStable((number: number, part: Partial<Scene>, kind?: string) => edit((all) => all.map((one, n) => (n === number ? { ...one, ...part } : one)), kind));
  const onMove = useStable((from: number, to: number) => {
    if (to < 0 || to >= scenes.length) return;
    edit((all) => moved(all, from, to));
    setSelected(to);
  });
  const onCopy = useStable((number: number) => {
    edit((all) => all.flatMap((one, n) => (n === number ? [one, { ...one }] : [one])));
    setSelected(number + 1);
  });
  const onRemove = useStable((number: number) => edit((all) => all.filter((_, n) => n !== number)));
  const onChoose = useStable((number: number, near = false) => {
    setSelected(number);
    if (near) requestAnimationFrame(() => document.getElementById("scene-panel")?.scrollIntoView({ block: "nearest", behavior: "smooth" }));
  });
  const add = () => {
    const at = scenes.length ? chosen + 1 : 0;
    edit((all) => [...all.slice(0, at), NEW, ...all.slice(at)]);
    setSelected(at);
    requestAnimationFrame(() => focusScene(at));
  };
  const go = (to: number) => {
    const next = Math.min(scenes.length - 1, Math.max(0, to));
    setSelected(next);
    document.querySelector(`[data-scene="${next}"]`)?.scrollIntoView({ block: "nearest" });
  };
  const setFrom = (from: From) => {
    if (from === "scenes" && draft.from === "script" && planned.length) edit((all) => all);
    else change((now) => ({ ...now, from, scenes: from === "scenes" && !now.scenes.length ? [NEW] : now.scenes }));
    setSelected(0);
  };
  const anew = () => {
    change(() => EMPTY);
    setMade(null);
    setSelected(0);
  };
  useKeys([
    { keys: "arrowup", label: "Scene before", group: "Scenes", run: () => go(chosen - 1), quiet: true, disabled: !scenes.length },
    { keys: "arrowdown", label: "Next scene", group: "Scenes", run: () => go(chosen + 1), quiet: true, disabled: !scenes.length },
    { keys: "enter", label: "Write the scene's narration", group: "Scenes", run: () => focusScene(chosen), quiet: true, disabled: !scenes.length },
    { keys: "n", label: "New scene after this one", group: "Scenes", run: add, disabled: draft.from === "topic" },
    { keys: "d", label: "Copy the scene", group: "Scenes", run: () => onCopy(chosen), disabled: !scenes.length },
    { keys: "alt+arrowup", label: "Move the scene up", group: "Scenes", run: () => onMove(chosen, chosen - 1), whileTyping: true, disabled: !scenes.length },
    { keys: "alt+arrowdown", label: "Move the scene down", group: "Scenes", run: () => onMove(chosen, chosen + 1), whileTyping: true, disabled: !scenes.length },
    { keys: ["delete", "backspace"], label: "Remove the scene", group: "Scenes", run: () => onRemove(chosen), disabled: !scenes.length },
    { keys: "space", label: "Play or pause the film", group: "Film", run: playFilm, quiet: true },
    { keys: "mod+z", label: "Undo", group: "General", run: undo, whileTyping: true },
    { keys: ["mod+shift+z", "mod+y"], label: "Redo", group: "General", run: redo, whileTyping: true },
    { keys: "mod+enter", label: "Make the film", group: "General", run: () => ready && render.mutate(), whileTyping: true },
  ]);

  const aspect = RATIOS[String(draft.film.aspect ?? "16:9")] ?? 16 / 9;
  const steps = new Map(job.data?.steps.filter((one) => one.stage === "scenes").map((one) => [one.index, one]));
  const stateOf = (number: number): State => {
    if (!made || !job.data || job.data.status === "failed" || job.data.status === "cancelled") return "new";
    const key = shown[number] === undefined ? "" : sceneKey(JSON.parse(shown[number]) as Planned);
    const step = steps.get(made.scenes[number] === key && !fresh[number] ? number : made.scenes.indexOf(key));
    if (fresh[number]) return "new";
    if (!working) return count > 0 ? "same" : step?.reused_from ? "reused" : "made";
    if (!step || step.status === "ready") return "waiting";
    return step.status === "running" ? "working" : step.reused_from ? "reused" : "made";
  };
  const scene = scenes[chosen];
  const whole = faults.filter((one) => one.scene === null);
  const total = draft.from === "topic" ? draft.topicScenes : scenes.length;
  const again = made !== null && !working && total > 0 && count < scenes.length;

  return (
    <div className={editor.editor} data-busy={working || undefined}>
      <h1 className="rm-hidden">Generate a film</h1>
      <header className={editor.top}>
        <p className={editor.name}>{draft.title || plan.data?.title || "A new film"}</p>
        <Tooltip label="Undo (Ctrl Z)">
          <ActionIcon aria-label="Undo" disabled={!history.canUndo} onClick={undo}><Undo2 size={17} /></ActionIcon>
        </Tooltip>
        <Tooltip label="Redo">
          <ActionIcon aria-label="Redo" disabled={!history.canRedo} onClick={redo}><Redo2 size={17} /></ActionIcon>
        </Tooltip>
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon aria-label="More"><MoreHorizontal size={18} /></ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item onClick={anew}>Begin anew</Menu.Item>
            <Menu.Item disabled={!made} onClick={() => made && open.mutate(made.job)}>Back to the film's own scenes</Menu.Item>
            <Menu.Item disabled={!params} onClick={() => void navigator.clipboard.writeText(JSON.stringify({ params }, null, 2)).then(() => done("Copied: the body of POST /api/v1/videos/generate."))}>Copy as a request</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </header>

      <div className={classes.board}>
        <SegmentedControl className={classes.from} aria-label="What the film is made of" data={WAYS} value={draft.from} onChange={(one) => setFrom(one as From)} />
        {open.error && <ErrorCard error={open.error} compact />}
        {draft.from === "script" && (
          <Textarea
            label="Script"
            description="Each paragraph is a scene. A line that begins with # stands large on the next one."
            placeholder={EXAMPLE}
            value={draft.script}
            minRows={6}
            maxRows={14}
            maxLength={50_000}
            attributes={AS_WRITTEN}
            error={whole.find((one) => one.field === "script")?.message}
            onChange={(event) => {
              const script = event.currentTarget.value;
              change((now) => ({ ...now, script }), "script");
            }}
          />
        )}
        {draft.from === "topic" && (
          <div className={classes.topic}>
            <TextInput
              label="Topic"
              description="A text model writes the narrations; you can edit each before it is made again."
              placeholder="How bees find their way home"
              value={draft.topic}
              maxLength={500}
              attributes={AS_WRITTEN}
              error={problem?.code === "text_model_needed" ? problem.what : whole.find((one) => one.field === "topic")?.message}
              onChange={(event) => {
                const topic = event.currentTarget.value;
                change((now) => ({ ...now, topic }), "topic");
              }}
            />
            <NumberInput label="Scenes" min={1} max={40} clampBehavior="blur" value={draft.topicScenes} onChange={(one) => one !== "" && change((now) => ({ ...now, topicScenes: Number(one) }), "topic-scenes")} />
          </div>
        )}
        {draft.from !== "topic" && (
          <>
            {scenes.length > 0 ? (
              <ol className={classes.rows} aria-label="Storyboard" data-stale={stale || undefined}>
                {scenes.map((one, n) => (
                  <Row
                    // biome-ignore lint: a scene has no name but its place
                    key={n}
                    number={n}
                    last={n === scenes.length - 1}
                    scene={one}
                    shown={shown[n] ?? "{}"}
                    film={draft.film}
                    seconds={planned[n]?.estimated_s ?? null}
                    state={stateOf(n)}
                    isChosen={n === chosen}
                    faults={faults.filter((fault) => fault.scene === n)}
                    {...{ onChoose, onChange, onMove, onCopy, onRemove }}
                  />
                ))}
              </ol>
            ) : (
              <div className={classes.none}>
                <Clapperboard size={26} aria-hidden />
                <p>{params && stale && !problem ? "The scenes are planned …" : "The storyboard stands here as soon as there are words."}</p>
                {draft.from === "script" && !draft.script && <Button variant="default" onClick={() => change((now) => ({ ...now, script: EXAMPLE }))}>Try an example</Button>}
              </div>
            )}
            {(scenes.length > 0 || draft.from === "scenes") && <Button className={classes.add} variant="default" leftSection={<Plus size={15} />} onClick={add}>Add a scene</Button>}
          </>
        )}
      </div>

      <aside className={editor.side} aria-label="Settings">
        {made && job.data && (
          <div id="film">
            <MadeFilm job={job.data} aspect={aspect} onOpen={made.scenes.length ? undefined : () => open.mutate(made.job)} />
          </div>
        )}
        {made && job.error && <div className={editor.panel}><ErrorCard error={job.error} compact /></div>}
        {scene && <ScenePanel key={chosen} scene={scene} shown={JSON.parse(shown[chosen] ?? "{}")} number={chosen} film={draft.film} faults={faults.filter((one) => one.scene === chosen)} onChange={(part, kind = "") => onChange(chosen, part, kind && `${kind}-${chosen}`)} />}
        <FilmPanel
          title={draft.title}
          planned={plan.data?.title}
          film={draft.film}
          faults={faults}
          onTitle={(title) => change((now) => ({ ...now, title }), "title")}
          onFilm={(film, kind) => change((now) => ({ ...now, film }), kind ? `film-${kind}` : "")}
        />
      </aside>

      <footer className={editor.foot}>
        {problem && <div className={editor.refused}><ErrorCard error={problem} compact /></div>}
        {render.error && <div className={editor.refused}><ErrorCard error={render.error} compact onRetry={() => render.mutate()} /></div>}
        <p className={editor.sum} role="status" aria-live="polite">
          {total > 0 && params ? (
            <>
              <strong>{total} {total === 1 ? "scene" : "scenes"}</strong>
              {plan.data?.estimated_duration_s != null && draft.from !== "topic" && <span>about {timecode(plan.data.estimated_duration_s)}</span>}
              {again && <span>{count === 0 ? "all as they were" : `${count} to be made, ${scenes.length - count} taken over`}</span>}
              {plan.data?.voice && <span>{plan.data.voice.split("/")[0]} speaks</span>}
            </>
          ) : unfinished >= 0 ? `Scene ${unfinished + 1} needs a film to take its picture from` : "Nothing to make yet"}
        </p>
        <Button size="md" disabled={!ready} loading={render.isPending} onClick={() => render.mutate()}>
          {working ? "The film is made …" : again && count > 0 ? `Make it with ${count} new ${count === 1 ? "scene" : "scenes"}` : "Make the film"}
        </Button>
      </footer>
    </div>
  );
}

function focusScene(number: number): void {
  document.querySelector<HTMLTextAreaElement>(`[data-narration="${number}"]`)?.focus();
}

function playFilm(): void {
  const film = document.querySelector<HTMLVideoElement>("[data-film]");
  if (film?.paused) void film.play().catch(() => undefined);
  else film?.pause();
}
