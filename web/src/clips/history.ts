/** A value with undo and redo. Changes of one kind that follow each other quickly, as typing does, are one step. */
import { useCallback, useState } from "react";

const TOGETHER_MS = 700;
const MOST = 200;

export interface History<T> {
  past: T[];
  now: T;
  future: T[];
  kind: string;
  at: number;
}

export function changed<T>(history: History<T>, next: T, kind: string, at: number): History<T> {
  if (next === history.now) return history;
  const together = kind !== "" && kind === history.kind && at - history.at < TOGETHER_MS && history.past.length > 0;
  const past = together ? history.past : [...history.past, history.now].slice(-MOST);
  return { past, now: next, future: [], kind, at };
}

export function undone<T>(history: History<T>): History<T> {
  const before = history.past.at(-1);
  if (before === undefined) return history;
  return { past: history.past.slice(0, -1), now: before, future: [history.now, ...history.future], kind: "", at: 0 };
}

export function redone<T>(history: History<T>): History<T> {
  const [next, ...future] = history.future;
  if (next === undefined) return history;
  return { past: [...history.past, history.now], now: next, future, kind: "", at: 0 };
}

export function useHistory<T>(first: () => T) {
  const [history, set] = useState<History<T>>(() => ({ past: [], now: first(), future: [], kind: "", at: 0 }));
  const change = useCallback((make: (now: T) => T, kind = "") => set((all) => changed(all, make(all.now), kind, Date.now())), []);
  const undo = useCallback(() => set(undone), []);
  const redo = useCallback(() => set(redone), []);
  return { value: history.now, change, undo, redo, canUndo: history.past.length > 0, canRedo: history.future.length > 0 };
}
