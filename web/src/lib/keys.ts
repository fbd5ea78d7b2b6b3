/**
 * The one registry of keys. What a screen binds by `useKeys` works while it is shown, stands in the `?` sheet and in Ctrl-K.
 *
 * A combination is `mod+k` (Ctrl, or ⌘ on a Mac), `shift+arrowleft`, a character like `/` or `?`, or two in a row: `g l`.
 */
import { useLayoutEffect, useRef, useSyncExternalStore } from "react";

export interface Binding {
  keys: string | string[];
  label: string;
  group: string;
  run: (event?: KeyboardEvent) => void;
  /** Also while typing, as Escape or Ctrl-S may. */
  whileTyping?: boolean;
  /** Not offered in Ctrl-K, as arrows in a player. */
  quiet?: boolean;
  disabled?: boolean;
}

const SEQUENCE_MS = 1200;
const bound = new Map<symbol, () => Binding[]>();
const listeners = new Set<() => void>();
let snapshot: Binding[] = [];
let first: { key: string; at: number } | null = null;

export const isMac = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.platform);

function changed() {
  // A snapshot outlives renderings: what its bindings do is looked up when they are pressed.
  snapshot = [...bound.values()].flatMap((give) => give().map((one, n) => ({ ...one, run: (event?: KeyboardEvent) => give()[n]?.run(event) })));
  for (const listener of listeners) listener();
}

/** Bind keys while the component is shown; the newest component wins. */
export function useKeys(bindings: Binding[]): void {
  const latest = useRef(bindings);
  latest.current = bindings;
  const shape = bindings.map((one) => `${one.keys}|${one.label}|${one.disabled ? 1 : 0}`).join("\n");
  // What can be seen can be pressed: keys are bound before the page is painted.
  // biome-ignore lint: the shape stands for the bindings
  useLayoutEffect(() => {
    const id = Symbol();
    // What is run is the newest rendering's: one that was bound when the screen looked otherwise would act on that.
    bound.set(id, () => latest.current.map((one, n) => ({ ...one, run: (event) => latest.current[n]?.run(event) })));
    changed();
    return () => {
      bound.delete(id);
      changed();
    };
  }, [shape]);
}

/** Every binding at hand, for the sheet and the palette. */
export function useBindings(): Binding[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => snapshot,
  );
}

/** An event → `mod+shift+arrowleft`; characters that need Shift are named by themselves. */
export function combination(event: KeyboardEvent): string {
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  const character = event.key.length === 1 && event.key !== " " && !/[a-z0-9]/i.test(event.key);
  const parts = [];
  if (isMac ? event.metaKey : event.ctrlKey) parts.push("mod");
  if (event.altKey) parts.push("alt");
  if (event.shiftKey && !character) parts.push("shift");
  return [...parts, key].join("+");
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && !isPressed(target);
}

function isPressed(target: HTMLElement): boolean {
  return target instanceof HTMLInputElement && ["checkbox", "radio", "button", "range"].includes(target.type);
}

/** What native controls do by themselves with a key must stay theirs. */
function isTheirs(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof HTMLElement)) return false;
  const presses = key === "space" || key === "enter";
  if (presses) return target.closest("button, a, summary, [role=button], [role=menuitem], [role=option], [role=tab], input") !== null;
  return /^(shift\+)?(arrow|page|home|end)/.test(key) && target.closest("[role=slider], [role=menu], [role=listbox], [role=tablist], [role=radiogroup], input") !== null;
}

function dispatch(event: KeyboardEvent) {
  if (event.defaultPrevented || event.isComposing || ["Control", "Shift", "Alt", "Meta"].includes(event.key)) return;
  const key = combination(event);
  const typing = isTyping(event.target);
  const before = first && event.timeStamp - first.at < SEQUENCE_MS ? `${first.key} ${key}` : null;
  first = null;
  const modal = document.querySelector("[aria-modal=true]") !== null;
  for (const wanted of [before, key]) {
    if (wanted === null) continue;
    for (const binding of [...snapshot].reverse()) {
      if (binding.disabled || (typing && !binding.whileTyping) || (modal && !binding.whileTyping)) continue;
      const all = Array.isArray(binding.keys) ? binding.keys : [binding.keys];
      if (!all.includes(wanted) || isTheirs(event.target, wanted)) continue;
      event.preventDefault();
      binding.run(event);
      return;
    }
  }
  if (!typing && !modal && snapshot.some((one) => [one.keys].flat().some((keys) => keys.startsWith(`${key} `)))) {
    first = { key, at: event.timeStamp };
  }
}

/** Listen on the page; returns what ends it. */
export function listenToKeys(): () => void {
  window.addEventListener("keydown", dispatch);
  return () => window.removeEventListener("keydown", dispatch);
}

const NAMES: Record<string, string> = {
  mod: isMac ? "⌘" : "Ctrl", shift: "Shift", alt: isMac ? "⌥" : "Alt", space: "Space", escape: "Esc", enter: "Enter",
  arrowleft: "←", arrowright: "→", arrowup: "↑", arrowdown: "↓", delete: "Del", backspace: "⌫",
};

/** `mod+k` → [[`Ctrl`, `K`]]; `g l` → [[`G`], [`L`]]. */
export function shown(keys: string): string[][] {
  return keys.split(" ").map((one) => one.split("+").map((part) => NAMES[part] ?? (part.length === 1 ? part.toUpperCase() : part)));
}
