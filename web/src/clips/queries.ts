/** What the editor and the video's page read beside what all screens do. */
import { queryOptions } from "@tanstack/react-query";
import { api, at, body, type Schemas } from "../api/client";
import type { Params, Planned } from "./draft";

const HALF_HOUR = 1_800_000;

export const waveformQuery = (id: string) =>
  queryOptions({
    queryKey: ["waveform", id],
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
    queryFn: ({ signal }) => body(api.GET("/api/v1/videos/{video_id}/waveform", { signal, params: { path: { video_id: id }, query: { buckets: 1500 } } })),
  });

/** A signed URL of the source; asked again well before it ends. */
export const playQuery = (id: string) =>
  queryOptions({
    queryKey: ["play", id],
    staleTime: HALF_HOUR,
    refetchInterval: HALF_HOUR * 4,
    queryFn: ({ signal }) => body(api.GET("/api/v1/videos/{video_id}/play", { signal, params: { path: { video_id: id } } })),
  });

export const metadataQuery = (jobId: string) =>
  queryOptions({
    queryKey: ["metadata", jobId],
    staleTime: HALF_HOUR,
    queryFn: ({ signal }) => body(api.GET("/api/v1/jobs/{job_id}/metadata", { signal, params: { path: { job_id: jobId } } })),
  });

export interface ClipPlan {
  duration_s: number;
  clip_count: number | null;
  clips: Planned[] | null;
  seed?: number;
  /** Why the cuts aren't known yet, of a cutting that must look into the film first. */
  note?: string;
}

/** The server's own plan of these clips, by the code that makes them. */
export const planQuery = (videoId: string, params: Params | null) =>
  queryOptions({
    queryKey: ["plan", videoId, params],
    enabled: params !== null,
    staleTime: 300_000,
    gcTime: 60_000,
    retry: false,
    queryFn: async ({ signal }) => {
      const reply = await body(
        api.POST("/api/v1/jobs", { signal, params: { query: { dry_run: true } }, body: { video_id: videoId, pipeline: "clips", params: params ?? {}, priority: 0 } }),
      );
      return (reply as unknown as Schemas["PlanReply"]).plan as unknown as ClipPlan;
    },
  });

export const posterOf = (id: string, width = 640) => at(`/api/v1/videos/${id}/poster?width=${width}`);
export const filmstripOf = (id: string, count: number, width: number) => at(`/api/v1/videos/${id}/filmstrip?count=${count}&width=${width}`);
