/** One signed PUT, with progress: which fetch doesn't tell yet, so XMLHttpRequest it is. */
import { ApiError, asApiError, type Problem, type Schemas } from "../api/client";

/** Names that browsers set by themselves, and refuse to be told. */
const THEIRS = new Set(["content-length", "host"]);

/** Send a piece to where it was signed for. Raises ApiError; its status is storage's. */
export function put(signed: Schemas["Upload"], piece: Blob, signal: AbortSignal, onSent: (bytes: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(asApiError(new DOMException("", "AbortError")));
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    const end = (error?: ApiError) => {
      signal.removeEventListener("abort", stop);
      if (error) reject(error);
      else resolve();
    };
    signal.addEventListener("abort", stop);
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onload = () => (request.status >= 200 && request.status < 300 ? end() : end(refusal(request)));
    request.onerror = () => end(asApiError(new TypeError("network")));
    request.ontimeout = request.onerror;
    request.onabort = () => end(asApiError(new DOMException("", "AbortError")));
    request.open(signed.method, signed.url);
    for (const [name, value] of Object.entries(signed.headers)) if (!THEIRS.has(name.toLowerCase())) request.setRequestHeader(name, value);
    request.send(piece);
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
