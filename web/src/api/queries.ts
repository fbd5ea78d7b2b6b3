/** What screens read, by one key each: `["video", id]`. Mutations and live events patch these. */
import { infiniteQueryOptions, QueryClient, queryOptions } from "@tanstack/react-query";
import { ApiError, api, body, session } from "./client";

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      refetchOnWindowFocus: false,
      retry: (count, error) => error instanceof ApiError && error.passing && count < 3,
    },
    mutations: { retry: false },
  },
});

export interface VideoFilter {
  processing?: "pending" | "processing" | "completed" | "failed";
  upload?: "awaiting" | "uploaded" | "rejected" | "expired" | "aborted" | "gone";
  labels?: string[];
}

export interface JobFilter {
  status?: "awaiting_upload" | "queued" | "running" | "completed" | "failed" | "cancelled";
  pipeline?: string;
  videoId?: string;
}

const PAGE = 60;

export const sessionQuery = queryOptions({ queryKey: ["session"], queryFn: session.who, staleTime: 60_000, retry: (n, e) => e instanceof ApiError && e.passing && n < 2 });

export const videosQuery = (filter: VideoFilter = {}) =>
  infiniteQueryOptions({
    queryKey: ["videos", filter],
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) =>
      body(
        api.GET("/api/v1/videos", {
          signal,
          params: { query: { processing_status: filter.processing, upload_status: filter.upload, label: filter.labels, cursor: pageParam ?? undefined, limit: PAGE } },
        }),
      ),
    getNextPageParam: (page) => page.next_cursor ?? null,
  });

export const videoQuery = (id: string) =>
  queryOptions({ queryKey: ["video", id], queryFn: ({ signal }) => body(api.GET("/api/v1/videos/{video_id}", { signal, params: { path: { video_id: id } } })) });

export const jobsQuery = (filter: JobFilter = {}) =>
  infiniteQueryOptions({
    queryKey: ["jobs", filter],
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) =>
      body(
        api.GET("/api/v1/jobs", {
          signal,
          params: { query: { status: filter.status, pipeline: filter.pipeline, video_id: filter.videoId, cursor: pageParam ?? undefined, limit: PAGE } },
        }),
      ),
    getNextPageParam: (page) => page.next_cursor ?? null,
  });

export const jobQuery = (id: string) =>
  queryOptions({ queryKey: ["job", id], queryFn: ({ signal }) => body(api.GET("/api/v1/jobs/{job_id}", { signal, params: { path: { job_id: id } } })) });

export const artifactsQuery = (jobId: string) =>
  queryOptions({ queryKey: ["artifacts", jobId], queryFn: ({ signal }) => body(api.GET("/api/v1/jobs/{job_id}/artifacts", { signal, params: { path: { job_id: jobId } } })) });

export const pipelinesQuery = queryOptions({ queryKey: ["pipelines"], staleTime: 300_000, queryFn: ({ signal }) => body(api.GET("/api/v1/pipelines", { signal })) });

export const keysQuery = queryOptions({ queryKey: ["keys"], queryFn: ({ signal }) => body(api.GET("/api/v1/keys", { signal })) });

export const workersQuery = queryOptions({ queryKey: ["workers"], queryFn: ({ signal }) => body(api.GET("/api/v1/admin/workers", { signal })) });

/** What `reelmill doctor` would say of this server. `fresh` looks again; else a report of the last minute will do. */
export const systemQuery = queryOptions({ queryKey: ["system"], staleTime: 60_000, queryFn: ({ signal }) => body(api.GET("/api/v1/system", { signal })) });
