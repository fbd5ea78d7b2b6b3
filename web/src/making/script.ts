/** A film before it is made: a script, a topic or scenes, and how the film shall be. No React, no network. */
import type { Params } from "../clips/draft";

export type Background =
  | { kind: "color"; color: string }
  | { kind: "gradient"; colors: string[]; angle?: number }
  | { kind: "image"; video_id: string; at_s?: number; motion?: string }
  | { kind: "video"; video_id: string; start_s?: number };

export type Position = "top" | "center" | "bottom";

export interface Scene {
  text: string;
  narration: string;
  /** null: the server chooses one by the scene's words. */
  background: Background | null;
  /** Seconds; null: as long as the narration, or as reading takes. */
  duration: number | null;
  position: Position;
}

export type From = "script" | "topic" | "scenes";

export interface Draft {
  from: From;
  script: string;
  topic: string;
  topicScenes: number;
  scenes: Scene[];
  title: string;
  /** All parameters that belong to the whole film; what isn't there is as usual. */
  film: Params;
}

/** A scene as the server plans it. */
export interface Planned {
  text: string | null;
  narration: string | null;
  background: Background;
  duration_s: number | null;
  text_position: Position;
  estimated_s: number;
}

/** What was ordered last: its job, and each scene as it was then. */
export interface Made {
  job: string;
  film: string;
  scenes: string[];
}

export const EMPTY: Draft = { from: "script", script: "", topic: "", topicScenes: 5, scenes: [], title: "", film: {} };
export const NEW: Scene = { text: "", narration: "", background: null, duration: null, position: "center" };
export const QUALITIES = ["360p", "480p", "720p", "1080p"];
export const USUAL_QUALITIES = ["720p", "1080p"];

export const sceneParams = (scene: Scene): Params => ({
  text: scene.text.trim() || null,
  narration: scene.narration.trim() || null,
  background: scene.background,
  duration_s: scene.duration,
  text_position: scene.position,
});

/** The pipeline's parameters; null while there is nothing to make a film of. */
export function paramsOf(draft: Draft): Params | null {
  const film = { ...draft.film, ...(draft.title.trim() ? { title: draft.title.trim() } : {}) };
  if (draft.from === "script") return draft.script.trim() ? { ...film, script: draft.script } : null;
  if (draft.from === "topic") return draft.topic.trim() ? { ...film, topic: draft.topic.trim(), topic_scenes: draft.topicScenes } : null;
  return draft.scenes.length ? { ...film, scenes: draft.scenes.map(sceneParams) } : null;
}

/** Planned scenes as one's own. Each keeps the background that it was given, so that a change of one changes no other. */
export const scenesOf = (planned: Planned[]): Scene[] =>
  planned.map((one) => ({
    text: one.text ?? "",
    narration: one.narration ?? "",
    background: one.background,
    duration: one.duration_s,
    position: one.text_position,
  }));

/** Scenes to edit: one's own, with the backgrounds that are planned for them, or those of the plan. */
export function ownScenes(draft: Draft, planned: Planned[]): Scene[] {
  if (draft.from !== "scenes") return scenesOf(planned);
  if (planned.length !== draft.scenes.length) return draft.scenes;
  return draft.scenes.map((one, n) => ({ ...one, background: one.background ?? planned[n]?.background ?? null }));
}

export function moved<T>(all: T[], from: number, to: number): T[] {
  const one = all[from];
  if (one === undefined || to < 0 || to >= all.length) return all;
  const rest = all.filter((_, n) => n !== from);
  return [...rest.slice(0, to), one, ...rest.slice(to)];
}

/** What of the whole film decides how each scene looks. */
const LOOKS = ["aspect", "quality_levels", "frame_rate", "voice", "captions", "pause_s", "transition", "transition_s", "crf", "preset"];

export const filmKey = (film: Params): string => JSON.stringify(LOOKS.map((name) => film[name] ?? null));

/** A value whose objects have their fields in order, without those that are null. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([, one]) => one !== null && one !== undefined);
  return Object.fromEntries(fields.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, one]) => [name, sorted(one)]));
}

/** A scene by what is seen and heard of it: equal keys, equal pictures. */
export const sceneKey = (one: Pick<Planned, "text" | "narration" | "background" | "duration_s" | "text_position">): string =>
  JSON.stringify(sorted({ text: one.text, narration: one.narration, background: one.background, duration_s: one.duration_s, text_position: one.text_position }));

/** Which scenes must be made, and which are there from the last time, wherever they stood. */
export function newScenes(planned: Planned[], film: Params, made: Made | null): boolean[] {
  if (!made || made.film !== filmKey(film)) return planned.map(() => true);
  const known = new Set(made.scenes);
  return planned.map((one) => !known.has(sceneKey(one)));
}

/** A finished job's script.json → a draft to go on with. */
export function openScript(told: Record<string, unknown>): { draft: Draft; made: Omit<Made, "job"> } {
  const { scenes, title, topic_scenes: _, ...film } = told as Params & { scenes: Planned[]; title?: string };
  const kept = Object.fromEntries(Object.entries(film).filter(([, value]) => value !== null));
  return {
    draft: { ...EMPTY, from: "scenes", scenes: scenesOf(scenes), title: title ?? "", film: kept },
    made: { film: filmKey(kept), scenes: scenes.map(sceneKey) },
  };
}

export interface Fault {
  scene: number | null;
  field: string;
  message: string;
}

/** What was refused → where it belongs: `scenes.1.duration_s` → the length of the second scene. */
export function faultsOf(problem: { what: string; fields: { field: string; message: string }[] } | null): Fault[] {
  if (!problem) return [];
  const [, field, message] = /^([a-z_]+(?:\.\w+)*): (.+)$/s.exec(problem.what) ?? [];
  const told = problem.fields.length || !field || !message ? problem.fields : [{ field, message }];
  return told.map(({ field, message }) => {
    const [, number, name] = /^(?:params\.)?scenes\.(\d+)\.?([a-z_]*)/.exec(field) ?? [];
    return number === undefined ? { scene: null, field: field.replace(/^params\./, ""), message } : { scene: Number(number), field: name ?? "", message };
  });
}

// ── kept in the browser, so that a reload loses nothing ──────────────────────────────────────

const PLACE = "reelmill.draft.generate";

export function readDraft(): { draft: Draft; made: Made | null } {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE) ?? "null") as { draft: Draft; made: Made | null } | null;
    if (kept && Array.isArray(kept.draft?.scenes)) return { draft: { ...EMPTY, ...kept.draft }, made: kept.made };
  } catch {
    // Not ours, or storage is forbidden.
  }
  return { draft: EMPTY, made: null };
}

export function keepDraft(draft: Draft, made: Made | null): void {
  try {
    localStorage.setItem(PLACE, JSON.stringify({ draft, made }));
  } catch {
    // Storage is full or forbidden: the draft lives as long as the page.
  }
}
