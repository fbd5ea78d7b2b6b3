/** One signed PUT, with progress: which fetch doesn't tell yet, so XMLHttpRequest it is. */
import { ApiError, asApiError, type Problem, type Schemas } from "../api/client";

/** Names that browsers set by themselves, and refuse to be told. */
const THEIRS = new Set(["content-length", "host"]);

const STALL_MS = 30_000; // so long a connection may carry nothing
const ANSWER_MS = 60_000; // so long storage may take to answer once all has gone

/**
 * Send a piece to where it was signed for, however long that takes as long as it goes on. Raises ApiError; its status is
 * storage's, 0 where it said nothing.
 */
export function put(signed: Schemas["Upload"], piece: Blob, signal: AbortSignal, onSent: (bytes: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(asApiError(new DOMException("", "AbortError")));
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    let watch: ReturnType<typeof setTimeout> | undefined;
    const end = (error?: ApiError) => {
      clearTimeout(watch);
      signal.removeEventListener("abort", stop);
      if (error) reject(error);
      else resolve();
    };
    const alive = (ms: number) => {
      clearTimeout(watch);
      watch = setTimeout(() => {
        end(stalled(ms));
        request.abort();
      }, ms);
    };
    signal.addEventListener("abort", stop);
    request.upload.onprogress = (event) => {
      alive(STALL_MS);
      onSent(event.loaded);
    };
    request.upload.onload = () => alive(ANSWER_MS);
    request.onload = () => (request.status >= 200 && request.status < 300 ? end() : end(refusal(request)));
    request.onerror = () => end(asApiError(new TypeError("network")));
    request.onabort = () => end(asApiError(new DOMException("", "AbortError")));
    request.open(signed.method, signed.url);
    for (const [name, value] of Object.entries(signed.headers)) if (!THEIRS.has(name.toLowerCase())) request.setRequestHeader(name, value);
    alive(STALL_MS);
    request.send(piece);
  });
}

function stalled(ms: number): ApiError {
  return new ApiError({
    code: "upload_stalled",
    detail: `Nothing went through for ${Math.round(ms / 1000)} s.`,
    why: "A connection broke without a word, or the network carries next to nothing.",
    remedy: "It is tried again by itself; what has arrived stays.",
  });
}

function refusal(request: XMLHttpRequest): ApiError {
  try {
    const told = JSON.parse(request.responseText) as Problem;
    if (typeof told.code === "string") return new ApiError({ ...told, status: request.status });
  } catch {
    // S3 speaks XML
  }
  const code = /<Code>([^<]+)<\/Code>/.exec(request.responseText)?.[1];
  return new ApiError({
    status: request.status,
    code: "storage_refused",
    detail: `Storage answered ${request.status}${code ? ` (${code})` : ""}.`,
    why: "The place where films are kept didn't take this part.",
    remedy: "Look at System: it tries storage as a browser does, and says how to repair it.",
  });
}
