/**
 * What the server says as it happens. One stream in a tab keeps jobs and videos fresh; where it breaks, it is opened
 * again, and meanwhile the lists are asked every few seconds, which a chip in the frame tells.
 */
import { useEffect, useSyncExternalStore } from "react";
import { at, type Job, type JobSummary } from "./client";
import { client } from "./queries";

export type LiveState = "live" | "connecting" | "polling" | "offline";

const POLL_MS = 4000;
let state: LiveState = "connecting";
const listeners = new Set<() => void>();

function become(next: LiveState) {
  if (next === state) return;
  state = next;
  for (const listener of listeners) listener();
}

export function useLiveState(): LiveState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}

/** A job as the stream tells it. */
export type Told = Pick<JobSummary, "job_id" | "video_id" | "pipeline" | "status" | "stage" | "progress_pct" | "message" | "run">;

/** Put what was told into every list and page that shows the job. */
function patch(told: Told) {
  let ended = false;
  let known = false;
  const merge = <T extends JobSummary>(job: T): T => {
    if (job.job_id !== told.job_id) return job;
    known = true;
    ended ||= job.status !== told.status;
    const older = job.run > told.run || (job.run === told.run && job.status === told.status && job.progress_pct > told.progress_pct);
    return older ? job : { ...job, ...told };
  };
  client.setQueryData<Job>(["job", told.job_id], (job) => job && merge(job));
  client.setQueriesData<{ pages: { items: JobSummary[] }[] }>({ queryKey: ["jobs"] }, (data) =>
    data && { ...data, pages: data.pages.map((page) => ({ ...page, items: page.items.map(merge) })) },
  );
  if (!known || ended) soon(["jobs"], ["videos"], ["video", told.video_id], ["job", told.job_id], ["artifacts", told.job_id]);
  else soon(["job", told.job_id]);
}

const waiting = new Map<string, unknown[]>();
let timer: ReturnType<typeof setTimeout> | undefined;

/**
 * Ask again for what these keys show; many changes in a moment are one request. What is being asked for just now is asked
 * for again when its answer is there: where something changes all the time, no answer would ever come otherwise.
 */
export function soon(...keys: unknown[][]): void {
  for (const key of keys) waiting.set(JSON.stringify(key), key);
  timer ??= setTimeout(() => {
    timer = undefined;
    const busy: unknown[][] = [];
    for (const [name, queryKey] of waiting) {
      if (client.isFetching({ queryKey })) busy.push(queryKey);
      else void client.invalidateQueries({ queryKey });
      waiting.delete(name);
    }
    if (busy.length) soon(...busy);
  }, 400);
}

/** Keep the cache fresh while the frame is shown. */
export function useLiveCache(): void {
  useEffect(() => {
    let source: EventSource | null = null;
    let again: ReturnType<typeof setTimeout> | undefined;
    let polling: ReturnType<typeof setInterval> | undefined;
    let wait = 1000;

    const refresh = () => soon(["jobs"], ["videos"], ["job"], ["video"]);
    const poll = () => {
      become(navigator.onLine ? "polling" : "offline");
      polling ??= setInterval(refresh, POLL_MS);
    };
    const open = () => {
      source = new EventSource(at("/api/v1/events"));
      source.addEventListener("ready", () => {
        wait = 1000;
        clearInterval(polling);
        polling = undefined;
        refresh(); // what was asked for before the stream stood may have changed since, and it doesn't tell of that
        become("live");
      });
      source.addEventListener("job", (event) => patch(JSON.parse((event as MessageEvent<string>).data) as Told));
      source.onerror = () => {
        source?.close();
        poll();
        again = setTimeout(open, wait * (0.75 + Math.random() / 2));
        wait = Math.min(wait * 2, 30_000);
      };
    };
    const online = () => {
      clearTimeout(again);
      source?.close();
      wait = 1000;
      open();
    };
    open();
    window.addEventListener("online", online);
    window.addEventListener("offline", poll);
    return () => {
      source?.close();
      clearTimeout(again);
      clearInterval(polling);
      window.removeEventListener("online", online);
      window.removeEventListener("offline", poll);
    };
  }, []);
}

/** Follow one job: each event once, with its type and data, then `progress`. */
export function useJobEvents(jobId: string, listen: (type: string, data: Record<string, unknown>) => void, types: string[] = ["progress"]): void {
  useEffect(() => {
    const source = new EventSource(at(`/api/v1/jobs/${jobId}/events`));
    for (const type of types) {
      source.addEventListener(type, (event) => listen(type, JSON.parse((event as MessageEvent<string>).data) as Record<string, unknown>));
    }
    return () => source.close();
    // biome-ignore lint: a stream lives as long as the job is shown
  }, [jobId]);
}
