/** What one does to jobs; each refreshes what shows them. */
import { api, body } from "../api/client";
import { soon } from "../api/live";
import { done, failed } from "../ui/toast";

type Act = (id: string) => Promise<unknown>;

export const cancelJob: Act = (id) => body(api.POST("/api/v1/jobs/{job_id}/cancel", { params: { path: { job_id: id } } }));
export const retryJob: Act = (id) => body(api.POST("/api/v1/jobs/{job_id}/retry", { params: { path: { job_id: id } } }));
export const prioritise = (id: string, priority: number) => body(api.POST("/api/v1/jobs/{job_id}/priority", { params: { path: { job_id: id } }, body: { priority } }));

/** Do something to many, four at a time; say how many it worked for. */
export async function toAll(ids: string[], act: Act, said: (count: number) => string): Promise<void> {
  const waiting = [...ids];
  const problems: unknown[] = [];
  const work = async () => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) await act(id).catch((error: unknown) => problems.push(error));
  };
  await Promise.all([work(), work(), work(), work()]);
  soon(["jobs"], ["job"], ["videos"]);
  if (ids.length > problems.length) done(said(ids.length - problems.length));
  if (problems.length) failed(problems[0], ids.length > 1 ? `${problems.length} of ${ids.length} couldn't be done` : undefined);
}

export const isOpen = (status: string) => status === "running" || status === "queued" || status === "awaiting_upload";
export const mayRetry = (status: string) => status === "failed" || status === "cancelled";

/** Seconds between two stamps; until now while the second isn't there. */
export function seconds(from: string | null | undefined, to: string | null | undefined, now = Date.now()): number | null {
  return from ? Math.max(0, ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000) : null;
}

/** `0.84 s`, `12.3 s`, `3:20`. */
export function took(length: number | null): string {
  if (length === null) return "";
  if (length < 60) return `${length < 10 ? length.toFixed(2) : length.toFixed(1)} s`;
  return `${Math.floor(length / 60)}:${String(Math.floor(length % 60)).padStart(2, "0")} min`;
}
