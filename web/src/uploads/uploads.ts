/** All uploads of this tab: what was begun here, and what an earlier page left. */
import { useSyncExternalStore } from "react";
import { soon } from "../api/live";
import { onFiles } from "./choose";
import { records } from "./records";
import { type Phase, Upload } from "./upload";

const AT_A_TIME = 3; // files; the rest waits for its turn
const TELL_MS = 120;

let uploads: Upload[] = [];
let version = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
let awake: WakeLockSentinel | null = null;
const listeners = new Set<() => void>();
const locks = new Map<string, () => void>();
const seen = new Map<string, Phase>();

function tell(): void {
  timer ??= setTimeout(() => {
    timer = undefined;
    version += 1;
    for (const listener of listeners) listener();
  }, TELL_MS);
}

function changed(upload: Upload): void {
  const before = seen.get(upload.key);
  if (before !== upload.phase) {
    seen.set(upload.key, upload.phase);
    if (upload.videoId && ["sending", "done", "failed", "cancelled"].includes(upload.phase)) soon(["videos"], ["video", upload.videoId], ["jobs"]);
    if (upload.videoId && ["sending", "hashing"].includes(upload.phase)) void hold(upload.videoId);
    if (upload.videoId && (["done", "cancelled"].includes(upload.phase) || (upload.phase === "failed" && !upload.again))) locks.get(upload.videoId)?.();
    queueMicrotask(next);
  }
  tell();
}

/** Begin what waits, as far as there is room; keep the screen on while something is sent. */
function next(): void {
  const running = uploads.filter((one) => one.active && one.phase !== "waiting").length;
  for (const one of uploads.filter((each) => each.phase === "waiting").slice(0, Math.max(0, AT_A_TIME - running))) {
    one.phase = "hashing";
    void one.run();
  }
  const busy = uploads.some((one) => one.active);
  if (busy && !awake) void navigator.wakeLock?.request("screen").then((lock) => (awake = lock)).catch(() => undefined);
  if (!busy && awake) {
    void awake.release().catch(() => undefined);
    awake = null;
  }
}

/** Keep an upload for this tab alone; tells whether it was free. `wait` until it is. */
function hold(videoId: string, wait = false): Promise<boolean> {
  if (!navigator.locks || locks.has(videoId)) return Promise.resolve(true);
  return new Promise((resolve) => {
    void navigator.locks.request(`reelmill-upload-${videoId}`, { ifAvailable: !wait }, (lock) => {
      resolve(lock !== null);
      if (lock === null) return undefined;
      return new Promise<void>((release) => {
        locks.set(videoId, () => {
          locks.delete(videoId);
          release();
        });
      });
    });
  });
}

export function add(files: { file: File; handle?: FileSystemFileHandle | undefined }[], labels: Record<string, string> = {}): void {
  for (const { file, handle } of files) {
    const upload = new Upload(file, `${Date.now()}-${Math.random()}`, changed, handle);
    upload.labels = labels;
    uploads = [...uploads, upload];
  }
  next();
  tell();
}

export function resume(upload: Upload): void {
  upload.phase = upload.file ? "waiting" : "needs_file";
  next();
  tell();
}

export function forget(upload: Upload): void {
  uploads = uploads.filter((one) => one !== upload);
  tell();
}

export function forgetEnded(): void {
  uploads = uploads.filter((one) => !["done", "cancelled"].includes(one.phase));
  tell();
}

/** Go on with an upload of an earlier page, by its handle: one click. False if the file must be chosen. */
export async function reopen(upload: Upload): Promise<boolean> {
  const handle = upload.record?.handle as (FileSystemFileHandle & { requestPermission?: (how: { mode: "read" }) => Promise<string> }) | undefined;
  if (!handle) return false;
  try {
    if ((await handle.requestPermission?.({ mode: "read" })) === "denied") return false;
    await upload.give(await handle.getFile());
  } catch {
    return false;
  }
  resume(upload);
  return true;
}

/** What an earlier page left: by the records, unless another tab is at it. */
async function found(): Promise<void> {
  for (const record of await records.all()) {
    if (uploads.some((one) => one.videoId === record.videoId)) continue;
    const upload = new Upload(record, record.videoId, changed);
    if (!(await hold(record.videoId))) {
      upload.phase = "elsewhere";
      void inherit(upload);
    }
    uploads = [...uploads, upload];
    const handle = record.handle as (FileSystemFileHandle & { queryPermission?: (how: { mode: "read" }) => Promise<string> }) | undefined;
    if (upload.phase === "needs_file" && handle && (await handle.queryPermission?.({ mode: "read" })) === "granted") await reopen(upload);
  }
  tell();
}

/** When the tab that is at it has ended it, take it off the list; when that was closed before, it goes on here. */
async function inherit(upload: Upload): Promise<void> {
  const { videoId } = upload;
  if (!videoId) return;
  await hold(videoId, true);
  const left = (await records.all()).some((one) => one.videoId === videoId);
  if (left && uploads.includes(upload)) return resume(upload);
  locks.get(videoId)?.();
  soon(["videos"], ["video", videoId]);
  forget(upload);
}

let begun = false;

/** Listen for files and for what was left; once in a page's life. */
export function begin(): void {
  if (begun) return;
  begun = true;
  onFiles((files) => add(files.map((file) => ({ file }))));
  void found();
  window.addEventListener("beforeunload", (event) => {
    if (uploads.some((one) => one.active)) event.preventDefault();
  });
  window.addEventListener("online", () => {
    for (const one of uploads) if (one.phase === "failed" && one.error?.passing) resume(one);
  });
}

export function useUploads(): Upload[] {
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => version,
  );
  return uploads;
}
