/** What the screens that make things ask of the server: plans, true pictures, voices, looks. */
import { queryOptions } from "@tanstack/react-query";
import { ApiError, api, asApiError, at, body, problemOf } from "../api/client";
import type { Params } from "../clips/draft";
import type { Planned } from "./script";

export interface FilmPlan {
  title: string;
  /** Empty for a topic, whose scenes are written first. */
  scenes: Planned[];
  scene_count: number;
  estimated_duration_s: number | null;
  voice: string | null;
}

/** The server's own plan of a film, by the code that makes it. */
export const filmPlanQuery = (params: Params | null) =>
  queryOptions({
    queryKey: ["film-plan", params],
    enabled: params !== null,
    staleTime: 300_000,
    gcTime: 60_000,
    retry: false,
    queryFn: async ({ signal }) => {
      const reply = await body(api.POST("/api/v1/videos/generate", { signal, params: { query: { dry_run: true } }, body: { params: params ?? {}, pipeline: "generate", priority: 0 } }));
      return (reply as unknown as { plan: FilmPlan }).plan;
    },
  });

export const voicesQuery = queryOptions({ queryKey: ["voices"], staleTime: 300_000, queryFn: ({ signal }) => body(api.GET("/api/v1/voices", { signal })) });

export const presetsQuery = queryOptions({ queryKey: ["looks"], staleTime: 60_000, queryFn: ({ signal }) => body(api.GET("/api/v1/presets", { signal })) });

const AT_ONCE = 2; // the server draws two at a time; more would hold up what else this page asks for
const waiting: (() => void)[] = [];
let drawing = 0;

/** Run a few at a time; one that is given up while it waits is never begun. */
async function inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  if (drawing < AT_ONCE) drawing += 1;
  else await new Promise<void>((go) => waiting.push(go)); // whoever has ended hands its place over
  try {
    signal.throwIfAborted();
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else drawing -= 1;
  }
}

export interface Drawn {
  picture: Blob;
  report: Record<string, unknown> | null;
}

/** A picture that the server draws. Raises ApiError. */
async function drawn(path: string, asked: unknown, signal: AbortSignal): Promise<Drawn> {
  return inTurn(signal, async () => {
    let reply: Response;
    try {
      reply = await fetch(at(path), { method: "POST", credentials: "same-origin", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
    } catch (error) {
      throw asApiError(error);
    }
    if (!reply.ok) throw await problemOf(reply);
    const report = reply.headers.get("Text-Report");
    return { picture: await reply.blob(), report: report === null ? null : (JSON.parse(report) as Record<string, unknown>) };
  });
}

const picture = (kind: string, path: string, asked: unknown) =>
  queryOptions({
    queryKey: [kind, asked],
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 120_000,
    retry: false,
    queryFn: ({ signal }) => drawn(path, asked, signal),
  });

/** The frame on which a scene begins, in the film's shape. */
export const sceneQuery = (scene: Params, film: Params) => {
  const { aspect, captions, transition, transition_s } = film;
  return picture("scene", "/api/v1/videos/generate/preview", { params: { aspect, captions, transition, transition_s, scenes: [scene] }, scene: 0 });
};

export interface LookAsked {
  video_id: string;
  text: string;
  style: Params;
  video: Params;
  at_s?: number;
}

/** A frame of a film with a text on it, as a clip has it. */
export const lookQuery = (asked: LookAsked) => picture("look", "/api/v1/texts/preview", asked);

/** A job's script.json: its scenes with all that was chosen for them. Raises ApiError. */
export async function scriptOf(jobId: string): Promise<Record<string, unknown>> {
  const files = await body(api.GET("/api/v1/jobs/{job_id}/artifacts", { params: { path: { job_id: jobId } } }));
  const script = files.items.find((one) => one.kind === "script");
  if (!script) throw new ApiError({ code: "no_script", detail: "This job has no script yet.", why: "Its scenes aren't written, or its files were removed.", remedy: "Wait until its first stage is done, or write the scenes anew." });
  const reply = await fetch(at(`/api/v1/jobs/${jobId}/download?artifact=${script.id}&via=api`), { credentials: "same-origin" }).catch((error: unknown) => {
    throw asApiError(error);
  });
  if (!reply.ok) throw await problemOf(reply);
  return (await reply.json()) as Record<string, unknown>;
}
