/** Checksums by a worker. Without a secure context (plain HTTP from another machine) browsers have none: null then. */
import { ApiError } from "../api/client";

const EDGE = 1 << 20;
let worker: Worker | null = null;
let last = 0;
const waiting = new Map<number, { resolve: (sha256: string) => void; reject: (error: Error) => void }>();

function started(): Worker {
  worker ??= new Worker(new URL("./hash.worker.ts", import.meta.url), { type: "module" });
  worker.onmessage = (event: MessageEvent<{ id: number; sha256?: string; error?: string }>) => {
    const { id, sha256, error } = event.data;
    const asker = waiting.get(id);
    waiting.delete(id);
    if (sha256 !== undefined) asker?.resolve(sha256);
    else asker?.reject(unreadable(error ?? ""));
  };
  return worker;
}

/** The browser can't read the file any more: moved, deleted or changed since it was chosen. */
export function unreadable(why: string): ApiError {
  return new ApiError({
    code: "source_changed",
    detail: "The file can't be read any more.",
    why: `It was moved, deleted or changed since it was chosen${why ? ` (${why})` : ""}.`,
    remedy: "Choose it again.",
  });
}

/** A piece's SHA-256 in hex; null where the browser offers none. Raises ApiError when the file has changed. */
export async function sha256(piece: Blob): Promise<string | null> {
  if (!globalThis.isSecureContext) return null;
  const id = ++last;
  return new Promise<string>((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    started().postMessage({ id, piece });
  });
}

/** What tells a file from another of the same size: the SHA-256 of its first and last MiB; null where there is none. */
export function edges(file: Blob): Promise<string | null> {
  return sha256(new Blob([file.slice(0, EDGE), file.slice(Math.max(0, file.size - EDGE))]));
}
