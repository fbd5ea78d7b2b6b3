/** New clips before they are ordered: what was chosen, as plain values. No React, no network. */

export interface Mark {
  start: number;
  end: number;
}

/** A clip as the server plans it. */
export interface Planned {
  index: number;
  start_s: number;
  end_s: number;
  text?: string | null;
}

export interface Line {
  text: string;
  /** Stays as it is when the others are varied again. */
  locked?: boolean;
  /** What made it: `llm:…`, `local`; nothing of what a person wrote. */
  source?: string;
}

export type Strategy = "none" | "same" | "own" | "vary";
export type Params = Record<string, unknown>;

export interface Draft {
  kind: string;
  /** What was set of each way of cutting, by its kind; kept while another is tried. */
  cuttings: Record<string, Params>;
  marks: Mark[];
  strategy: Strategy;
  same: string;
  base: string;
  lines: Line[];
  look: Params;
  video: Params;
}

export const EMPTY: Draft = {
  kind: "fixed",
  cuttings: { fixed: { duration_s: 30 } },
  marks: [],
  strategy: "none",
  same: "",
  base: "",
  lines: [],
  look: {},
  video: {},
};

export const SHORTEST_S = 0.1;

const round = (seconds: number) => Math.round(seconds * 1e6) / 1e6;

/** A first draft that suits a film of this length: about six clips, of a length that people would say. */
export function firstDraft(duration: number): Draft {
  const usual = [1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300];
  const wanted = usual.find((one) => duration / one <= 8) ?? 600;
  return { ...EMPTY, cuttings: { fixed: { duration_s: wanted } } };
}

/** `cutting` of the pipeline's parameters; null while there is nothing to cut. */
export function cuttingOf(draft: Draft): Params | null {
  if (draft.kind !== "manual") return { ...draft.cuttings[draft.kind], kind: draft.kind };
  if (!draft.marks.length) return null;
  return { kind: "manual", cuts: draft.marks.map(({ start, end }) => ({ start_s: round(start), end_s: round(end) })) };
}

/** `text` of the pipeline's parameters for so many clips; null for none. */
export function textOf(draft: Draft, count: number): Params | null {
  if (draft.strategy === "same") return draft.same.trim() ? { ...draft.look, strategy: "one_for_all", text: draft.same } : null;
  if (draft.strategy === "none") return null;
  const texts = Array.from({ length: count }, (_, n) => draft.lines[n]?.text.trim() || null);
  return texts.some(Boolean) ? { ...draft.look, strategy: "unique_for_all", texts } : null;
}

/** The text of one clip, as it is now. */
export function textAt(draft: Draft, index: number): string {
  if (draft.strategy === "same") return draft.same;
  return draft.strategy === "none" ? "" : (draft.lines[index]?.text ?? "");
}

export const marksOf = (planned: Planned[]): Mark[] => planned.map((one) => ({ start: one.start_s, end: one.end_s }));

/** N marks of equal length, from the first frame to the last. */
export function equalMarks(duration: number, count: number): Mark[] {
  return Array.from({ length: count }, (_, n) => ({ start: round((duration * n) / count), end: round((duration * (n + 1)) / count) }));
}

/** Move one edge; it never passes the other, nor leaves the film. */
export function moveEdge(mark: Mark, edge: "start" | "end", to: number, duration: number): Mark {
  if (edge === "start") return { ...mark, start: round(Math.min(Math.max(0, to), mark.end - SHORTEST_S)) };
  return { ...mark, end: round(Math.max(Math.min(duration, to), mark.start + SHORTEST_S)) };
}

/** Cut one mark in two at a time; null where either would be too short. */
export function split(marks: Mark[], index: number, at: number): Mark[] | null {
  const mark = marks[index];
  if (!mark || at - mark.start < SHORTEST_S || mark.end - at < SHORTEST_S) return null;
  return marks.flatMap((one, n) => (n === index ? [{ start: one.start, end: round(at) }, { start: round(at), end: one.end }] : [one]));
}

/** Join a mark with the one after it, over what lies between. */
export function merge(marks: Mark[], index: number): Mark[] | null {
  const [mark, next] = [marks[index], marks[index + 1]];
  if (!mark || !next) return null;
  const joined = { start: Math.min(mark.start, next.start), end: Math.max(mark.end, next.end) };
  return marks.flatMap((one, n) => (n === index ? [joined] : n === index + 1 ? [] : [one]));
}

/** Where a clip is at a time: the last that begins before it, if it hasn't ended; else -1. */
export function clipAt(clips: { start_s: number; end_s: number }[], at: number): number {
  return clips.findLastIndex((one) => one.start_s <= at && at < one.end_s);
}

/** The nearest of some times, if it is near enough; else the time itself. */
export function snap(to: number, times: number[], within: number): number {
  let best = to;
  let near = within;
  for (const time of times) {
    const away = Math.abs(time - to);
    if (away <= near) [best, near] = [time, away];
  }
  return best;
}

/** What was pasted → a text for each row: the first column of a spreadsheet, quotes of CSV taken off. */
export function pastedLines(text: string): string[] {
  const rows: string[] = [];
  let cell = "";
  let quoted = false;
  let first = true;
  const body = text.replace(/\r\n?/g, "\n").replace(/\n+$/, "");
  for (let at = 0; at < body.length; at += 1) {
    const one = body[at];
    if (quoted) {
      if (one === '"' && body[at + 1] === '"') {
        if (first) cell += one;
        at += 1;
      } else if (one === '"') quoted = false;
      else if (first) cell += one;
    } else if (one === '"' && first && cell === "") quoted = true;
    else if (one === "\t") first = false;
    else if (one === "\n") {
      rows.push(cell.trim());
      cell = "";
      first = true;
    } else if (first) cell += one;
  }
  rows.push(cell.trim());
  return rows.length === 1 && rows[0] === "" ? [] : rows;
}

/** Put lines in from one row on; what lies behind stays. */
export function putLines(lines: Line[], from: number, texts: string[]): Line[] {
  const wanted = Math.max(lines.length, from + texts.length);
  return Array.from({ length: wanted }, (_, n) => {
    const given = texts[n - from];
    return given === undefined || n < from ? (lines[n] ?? { text: "" }) : { text: given };
  });
}

/** Seconds of one frame, from `30000/1001`. */
export function frameLength(rate: string | null | undefined): number {
  const [over, under] = (rate ?? "").split("/").map(Number);
  const perSecond = over && (under ?? 1) ? over / (under || 1) : 0;
  return perSecond > 0 && Number.isFinite(perSecond) ? 1 / perSecond : 1 / 25;
}

export interface Sums {
  count: number;
  seconds: number;
  shortest: number;
  longest: number;
}

export function sums(clips: Planned[]): Sums {
  const lengths = clips.map((one) => one.end_s - one.start_s);
  return {
    count: clips.length,
    seconds: lengths.reduce((a, b) => a + b, 0),
    shortest: lengths.length ? Math.min(...lengths) : 0,
    longest: lengths.length ? Math.max(...lengths) : 0,
  };
}

/** Distances of a ruler's ticks in seconds, so that labels have room. */
export function tickEvery(duration: number, width: number, room = 90): number {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  return steps.find((one) => (one / duration) * width >= room) ?? 14_400;
}

/** How many pictures fill a lane with as little distortion as can be; of few numbers, so that few are made. */
export function tilesFor(width: number, height: number, aspect: number): number {
  const fitting = width / Math.max(1, height * aspect);
  const steps = [4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100];
  return steps.reduce((best, one) => (Math.abs(one - fitting) < Math.abs(best - fitting) ? one : best));
}

// ── kept in the browser, so that a reload loses nothing ──────────────────────────────────────

const nameOf = (videoId: string) => `reelmill.draft.${videoId}`;

export function readDraft(videoId: string): Draft | null {
  try {
    const kept = JSON.parse(localStorage.getItem(nameOf(videoId)) ?? "null") as Draft | null;
    return kept && typeof kept.kind === "string" ? { ...EMPTY, ...kept } : null;
  } catch {
    return null;
  }
}

export function keepDraft(videoId: string, draft: Draft | null): void {
  try {
    if (draft) localStorage.setItem(nameOf(videoId), JSON.stringify(draft));
    else localStorage.removeItem(nameOf(videoId));
  } catch {
    // Storage is full or forbidden: the draft lives as long as the page.
  }
}

/** Add a span of the film to what is marked, from another page. Returns how many are marked then. */
export function markSpan(videoId: string, span: Mark): number {
  const draft = readDraft(videoId) ?? EMPTY;
  const known = draft.kind === "manual" ? draft.marks : [];
  const marks = [...known.filter((one) => one.start !== span.start || one.end !== span.end), span].sort((a, b) => a.start - b.start);
  keepDraft(videoId, { ...draft, kind: "manual", marks });
  return marks.length;
}
