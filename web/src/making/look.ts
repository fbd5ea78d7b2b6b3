/** A brand before it is kept: a name and all values of a look. No React, no network. */
import type { Params } from "../clips/draft";

export interface Draft {
  /** `new`, or the id of a preset that there is. */
  edit: string;
  name: string;
  style: Params;
}

/** How presets are looked at: on which film, at which moment, with which words. */
export interface View {
  video: string | null;
  /** Seconds; null: a third into the film. */
  at: number | null;
  text: string;
  aspect: string;
  safe: boolean;
}

export const VIEW: View = { video: null, at: null, text: "Summer by the lake", aspect: "source", safe: false };

/** A free name that begins with another's: `boxed 2`. */
export function freeName(name: string, taken: string[]): string {
  const known = new Set(taken);
  for (let n = 2; ; n += 1) if (!known.has(`${name} ${n}`)) return `${name} ${n}`;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** What is kept free, as the report of a preview tells it: shares of width or height at each edge. */
export function safeOf(report: Record<string, unknown> | null): Box | null {
  const safe = report?.safe as Partial<Box> | undefined;
  if (!safe || [safe.left, safe.top, safe.right, safe.bottom].some((one) => typeof one !== "number")) return null;
  return safe as Box;
}

/** The report's contrast in words; null while nothing is known. */
export function contrastOf(report: Record<string, unknown> | null): { words: string; good: boolean } | null {
  const contrast = report?.contrast;
  if (typeof contrast !== "number") return null;
  const added = Array.isArray(report?.added) ? report.added.join(", ") : typeof report?.added === "string" ? report.added : "";
  return { words: `Contrast ${contrast.toFixed(1)} : 1${added ? `, with an added ${added.replace(/_/g, " ")}` : ""}`, good: contrast >= 4.5 };
}

function read<T>(place: string): T | null {
  try {
    return JSON.parse(localStorage.getItem(place) ?? "null") as T | null;
  } catch {
    return null;
  }
}

function keep(place: string, value: unknown): void {
  try {
    if (value === null) localStorage.removeItem(place);
    else localStorage.setItem(place, JSON.stringify(value));
  } catch {
    // Storage is full or forbidden: it lives as long as the page.
  }
}

export const readView = (): View => ({ ...VIEW, ...read<View>("reelmill.presets.view") });
export const keepView = (view: View): void => keep("reelmill.presets.view", view);

/** The draft of what is being edited, if it is that. */
export function readLook(edit: string): Draft | null {
  const kept = read<Draft>("reelmill.draft.preset");
  return kept?.edit === edit && typeof kept.style === "object" ? kept : null;
}
export const keepLook = (draft: Draft | null): void => keep("reelmill.draft.preset", draft);
