/** The one door to the API. Every failure is an `ApiError` with what, why and remedy of the server's catalogue. */
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];
export type Video = Schemas["VideoReply"];
export type Job = Schemas["JobReply"];
export type JobSummary = Schemas["JobSummary"];
export type Pipeline = Schemas["PipelineReply"];

/** Where this server's paths begin: `/`, or what a proxy gives us, with a slash at the end. */
export const BASE = new URL(document.baseURI).pathname;

/** A path of this server, as `/api/v1/…`, for `<img>`, `<video>` and EventSource. */
export const at = (path: string) => BASE + path.replace(/^\//, "");

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  /** What happened, in this case. */
  readonly what: string;
  readonly why: string;
  readonly remedy: string;
  readonly correlationId: string | null;
  /** Faults of single fields: `params.cutting.duration_s` → message. */
  readonly fields: { field: string; message: string }[];
  readonly missingParts: number[];

  constructor(problem: Partial<Problem> & { code: string }) {
    super(problem.detail || problem.title || problem.code);
    this.name = "ApiError";
    this.status = problem.status ?? 0;
    this.code = problem.code;
    this.what = this.message;
    this.why = problem.why ?? "";
    this.remedy = problem.remedy ?? "";
    this.correlationId = problem.correlation_id ?? null;
    this.fields = problem.errors ?? [];
    this.missingParts = problem.missing_parts ?? [];
  }

  /** The server or the way to it is at fault, and the same request may work later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Whatever was thrown, as an ApiError. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof DOMException && error.name === "AbortError") {
    return new ApiError({ code: "stopped", detail: "It was stopped." });
  }
  if (error instanceof TypeError) {
    return new ApiError({
      code: "unreachable",
      detail: navigator.onLine ? "The server doesn't answer." : "This device is offline.",
      why: navigator.onLine ? "It may be restarting, or the network between is cut." : "There is no network.",
      remedy: navigator.onLine ? "Wait a moment; see that `reelmill serve` runs." : "It goes on by itself when the network is back.",
    });
  }
  return new ApiError({ code: "unexpected", detail: error instanceof Error ? error.message : String(error), why: "This page has a fault.", remedy: "Load the page again; if it stays, report it." });
}

/** A failed reply → ApiError; what isn't problem+json (a proxy's page) is told by its status. */
export async function problemOf(reply: Response): Promise<ApiError> {
  try {
    const problem = (await reply.clone().json()) as Problem;
    if (typeof problem.code === "string") return new ApiError({ ...problem, status: reply.status });
  } catch {
    // not JSON
  }
  return new ApiError({
    status: reply.status,
    code: "bad_reply",
    detail: `The server answered ${reply.status} ${reply.statusText}`.trim() + ".",
    why: "Something between this page and Reelmill answered in its place.",
    remedy: "Look at the reverse proxy; then try again.",
  });
}

type Listener = () => void;
const signedOut = new Set<Listener>();

/** Call when a reply says that nobody is signed in. */
export function onSignedOut(listener: Listener): () => void {
  signedOut.add(listener);
  return () => signedOut.delete(listener);
}

const raise: Middleware = {
  async onResponse({ response }) {
    if (response.ok) return undefined;
    const problem = await problemOf(response);
    if (response.status === 401) for (const listener of signedOut) listener();
    throw problem;
  },
  onError({ error }) {
    return asApiError(error);
  },
};

export const api = createClient<paths>({ baseUrl: BASE.replace(/\/$/, ""), credentials: "same-origin" });
api.use(raise);

/** The body of a call: `await body(api.GET("/api/v1/videos"))`. Raises ApiError. */
export async function body<T>(call: Promise<{ data?: T }>): Promise<T> {
  try {
    return (await call).data as T;
  } catch (error) {
    throw asApiError(error);
  }
}

// ── the session, which isn't part of the API proper ───────────────────────────────────────────

export interface Session {
  user_id: string;
  tenant: string;
  scopes: string[];
  version: string;
}

async function plain(method: string, path: string, json?: unknown): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch(at(path), {
      method,
      credentials: "same-origin",
      ...(json === undefined ? {} : { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } }),
    });
  } catch (error) {
    throw asApiError(error);
  }
  if (!reply.ok) throw await problemOf(reply);
  return reply;
}

export const session = {
  who: async () => (await (await plain("GET", "/session")).json()) as Session,
  signIn: async (key: string) => (await (await plain("POST", "/session", { key })).json()) as Session,
  signOut: async () => void (await plain("POST", "/signout")),
};
