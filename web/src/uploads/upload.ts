/**
 * One file on its way. Parts go in parallel, each with its checksum; what fails is tried again; the server's storage is
 * the ledger of what has arrived. The same algorithm as the Python client's `client/uploads.py`.
 */
import { ApiError, api, asApiError, body, type Schemas } from "../api/client";
import { edges, sha256 } from "./hash";
import { type Arrived, Meter, type Part, partSize, parts, pause, split } from "./plan";
import { put } from "./put";
import { records, type UploadRecord } from "./records";

const WHOLE_BYTES = 32 << 20; // a larger file goes in parts
const PARALLEL = 4; // PUTs at a time in this tab: browsers open six connections to a host, and the page needs some
const ROUNDS = 3; // times that all which is missing is sent
const RENEWALS = 5; // tries in a row with a new URL each
const PATIENCE_MS = 15 * 60_000; // so long a server that is away is waited for, since anything went through; offline doesn't count

export type Phase =
  | "waiting" // for its turn
  | "hashing" // comparing with what has arrived, or making the checksum of a small file
  | "sending"
  | "offline"
  | "verifying" // the server looks at the whole
  | "paused"
  | "needs_file" // after a reload: the browser must be given the file again
  | "elsewhere" // another tab is at it
  | "done"
  | "failed"
  | "cancelled";

/** After these a new URL may work. */
const USED_UP = new Set(["signature_expired", "signature_invalid", "body_mismatch", "multipart_gone", "object_missing", "storage_refused"]);
/** A file of this name and content will never be taken: there is nothing to try again. */
const FINAL = new Set(["not_a_video", "not_a_picture", "media_rejected", "source_changed"]);

/** At most so many PUTs at a time, first come first served. */
class Slots {
  private free = PARALLEL;
  private queue: (() => void)[] = [];

  async take<T>(act: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      return await act();
    } finally {
      const next = this.queue.shift();
      if (next) next();
      else this.free += 1;
    }
  }
}

const slots = new Slots();

export class Upload {
  readonly filename: string;
  readonly size: number;
  phase: Phase = "waiting";
  file: File | null;
  videoId: string | null = null;
  jobId: string | null = null;
  error: ApiError | null = null;
  /** Bytes of the phase: hashed, or arrived and under way. */
  sent = 0;
  /** Of each part, how much has gone: 0–1. One entry for a file in one piece. */
  map: number[] = [0];
  labels: Record<string, string> = {};
  record: UploadRecord | null = null;
  private readonly meter = new Meter();
  private stopper = new AbortController();
  private readonly underway = new Map<number, number>();
  private settled = 0;
  private lastSign = 0; //: when anything went through

  constructor(
    source: File | UploadRecord,
    readonly key: string,
    private readonly changed: (upload: Upload) => void,
    private readonly handle?: FileSystemFileHandle,
  ) {
    if (source instanceof File) {
      this.file = source;
      this.filename = source.name;
    } else {
      this.file = null;
      this.filename = source.filename;
      this.record = source;
      this.videoId = source.videoId;
      this.phase = "needs_file";
    }
    this.size = source.size;
  }

  get active(): boolean {
    return ["waiting", "hashing", "sending", "offline", "verifying"].includes(this.phase);
  }

  get rate(): number | null {
    return this.phase === "sending" ? this.meter.rate(performance.now()) : null;
  }

  /** Seconds that are left, at the present speed. */
  get left(): number | null {
    const rate = this.rate;
    return rate ? (this.size - this.sent) / rate : null;
  }

  get fraction(): number {
    return this.phase === "done" ? 1 : this.size ? Math.min(1, this.sent / this.size) : 0;
  }

  get again(): boolean {
    return this.phase === "failed" && !FINAL.has(this.error?.code ?? "");
  }

  private become(phase: Phase): void {
    this.phase = phase;
    this.changed(this);
  }

  pause(): void {
    if (!this.active || this.phase === "verifying") return;
    this.stopper.abort();
    this.become("paused");
  }

  async cancel(): Promise<void> {
    this.stopper.abort();
    if (this.videoId) await records.remove(this.videoId);
    this.become("cancelled");
    if (this.videoId) await body(api.DELETE("/api/v1/uploads/{video_id}", { params: { path: { video_id: this.videoId } } })).catch(() => undefined);
  }

  /** Take the file again after a reload. Raises ApiError if it is another one. */
  async give(file: File): Promise<void> {
    const known = this.record;
    if (known && (file.size !== known.size || (known.edges !== null && (await edges(file)) !== known.edges))) {
      throw new ApiError({
        code: "upload_mismatch",
        detail: `${file.name} isn't the file whose upload was begun.`,
        why: file.size === known.size ? "Its beginning or end differ." : `It has ${file.size} bytes; ${known.size} were announced.`,
        remedy: `Choose ${known.filename} as it was, or cancel this upload and begin anew.`,
      });
    }
    this.file = file;
    this.become("waiting");
  }

  /** Send all that is missing until the server says that it has all. Never raises: `phase` and `error` tell. */
  async run(): Promise<void> {
    this.stopper = new AbortController();
    const { signal } = this.stopper;
    this.error = null;
    try {
      if (!this.file) return this.become("needs_file");
      await this.finish(this.file, signal);
      this.sent = this.size;
      if (this.videoId) await records.remove(this.videoId);
      this.become("done");
    } catch (problem) {
      if (signal.aborted) return; // paused or cancelled: said already
      this.stopper.abort(); // the other parts needn't go on
      this.error = asApiError(problem);
      if (this.videoId && FINAL.has(this.error.code)) await records.remove(this.videoId);
      this.become("failed");
    }
  }

  private async finish(file: File, signal: AbortSignal): Promise<void> {
    let there = this.videoId ? await this.standing(this.videoId, signal) : await this.begin(file, signal);
    for (let left = ROUNDS - 1; ; left--) {
      try {
        if (there.upload_status === "awaiting" || there.upload_status === "expired") {
          if (there.part_size == null) await this.sendWhole(file, there, signal);
          else await this.sendParts(file, there, there.part_size, signal);
        }
        this.become("verifying");
        const done = await this.insist(signal, () => body(api.POST("/api/v1/uploads/complete", { body: { video_id: there.video_id } })));
        this.jobId = done.job_id;
        return;
      } catch (problem) {
        const { code } = asApiError(problem);
        if (left === 0 || !["upload_missing", "transition_refused"].includes(code)) throw problem;
        there = await this.standing(there.video_id, signal);
      }
    }
  }

  private async begin(file: File, signal: AbortSignal): Promise<Schemas["UploadReply"]> {
    const small = file.size <= WHOLE_BYTES;
    let digest: string | null = null;
    if (small) {
      this.become("hashing");
      digest = await sha256(file);
    }
    const idempotency = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const begun = await this.insist(signal, () =>
      body(
        api.POST("/api/v1/uploads/initiate", {
          params: { header: { "Idempotency-Key": idempotency } },
          body: {
            filename: file.name.slice(-255),
            size: file.size,
            content_type: /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(file.type) ? file.type : "application/octet-stream",
            labels: this.labels,
            multipart: !small,
            reuse: true,
            ...(small ? {} : { part_size: partSize(file.size) }),
            ...(digest ? { sha256: digest } : {}),
          },
        }),
      ),
    );
    this.videoId = begun.video_id;
    this.jobId = begun.job_id;
    this.record = {
      videoId: begun.video_id,
      filename: file.name,
      size: file.size,
      lastModified: file.lastModified,
      edges: await edges(file),
      startedAt: Date.now(),
      ...(this.handle ? { handle: this.handle } : {}),
    };
    await records.put(this.record);
    this.changed(this);
    return this.standing(begun.video_id, signal);
  }

  private standing(videoId: string, signal: AbortSignal): Promise<Schemas["UploadReply"]> {
    return this.insist(signal, () => body(api.GET("/api/v1/uploads/{video_id}", { params: { path: { video_id: videoId } } })));
  }

  // ── in one piece ────────────────────────────────────────────────────────────────────────────

  private async sendWhole(file: File, first: Schemas["UploadReply"], signal: AbortSignal): Promise<void> {
    this.enter([0]);
    let there = first;
    await this.tried(signal, async () => {
      const to = there.upload;
      if (!to || there.arrived_bytes === there.size) return;
      try {
        await slots.take(() => put(to, file, signal, (bytes) => this.note(0, bytes, file.size)));
      } catch (problem) {
        const error = asApiError(problem);
        if (error.status === 412 || error.code === "object_exists") return; // an earlier try has arrived; its reply was lost
        this.note(0, 0, file.size);
        if (!signal.aborted) there = await this.standing(there.video_id, signal);
        throw error;
      }
    });
    this.arrived(0, file.size);
  }

  // ── in parts ────────────────────────────────────────────────────────────────────────────────

  private async sendParts(file: File, there: Schemas["UploadReply"], size: number, signal: AbortSignal): Promise<void> {
    const all = parts(file.size, size);
    const { there: known, missing } = split(all, there.parts);
    this.enter(all.map(() => 0), known.length ? "hashing" : "sending");
    for (const [part, one] of known) {
      if (await this.same(file, part, one)) this.arrived(part.number - 1, part.size);
      else missing.push(part);
      if (signal.aborted) throw asApiError(new DOMException("", "AbortError"));
    }
    this.become("sending");
    const queue = [...missing];
    const worker = async () => {
      for (let part = queue.shift(); part; part = queue.shift()) await this.sendPart(file, there.video_id, part, signal);
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, queue.length) }, worker));
  }

  private async same(file: File, part: Part, one: Arrived): Promise<boolean> {
    const digest = one.sha256 === null ? null : await sha256(file.slice(part.start, part.start + part.size));
    return digest === null || digest === one.sha256;
  }

  private async sendPart(file: File, videoId: string, part: Part, signal: AbortSignal): Promise<void> {
    const piece = file.slice(part.start, part.start + part.size);
    await slots.take(async () => {
      const digest = await sha256(piece);
      await this.tried(signal, async () => {
        const reply = await body(
          api.POST("/api/v1/uploads/{video_id}/parts", {
            signal,
            params: { path: { video_id: videoId } },
            body: { parts: [{ number: part.number, ...(digest ? { sha256: digest } : {}) }] },
          }),
        );
        const signed = reply.parts[0];
        if (!signed) throw new ApiError({ code: "unexpected", detail: "The server signed no part." });
        try {
          await put(signed, piece, signal, (bytes) => this.note(part.number - 1, bytes, part.size));
        } catch (problem) {
          this.note(part.number - 1, 0, part.size);
          throw problem;
        }
      });
    });
    this.arrived(part.number - 1, part.size);
  }

  // ── trying again ────────────────────────────────────────────────────────────────────────────

  /** Try until it works: what passes is waited for, an URL that is used up is renewed a few times. */
  private async tried<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    this.lastSign = Date.now();
    let renewals = 0;
    for (let attempt = 0; ; attempt++) {
      try {
        return await act();
      } catch (problem) {
        const error = asApiError(problem);
        if (signal.aborted) throw error;
        if (USED_UP.has(error.code)) renewals += 1;
        else if (!error.passing) throw error;
        if (renewals > RENEWALS || Date.now() - this.lastSign > PATIENCE_MS) throw error;
        await this.wait(attempt, signal);
      }
    }
  }

  private insist<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    return this.tried(signal, async () => {
      const value = await act();
      if (signal.aborted) throw asApiError(new DOMException("", "AbortError"));
      return value;
    });
  }

  /** Wait a little; while the device is offline, until it is back. */
  private async wait(attempt: number, signal: AbortSignal): Promise<void> {
    const before = this.phase;
    const until = (target: EventTarget, name: string) => new Promise<void>((resolve) => target.addEventListener(name, () => resolve(), { once: true }));
    if (!navigator.onLine) {
      this.become("offline");
      await Promise.race([until(window, "online"), until(signal, "abort")]);
      this.lastSign = Date.now();
    } else {
      await Promise.race([new Promise((resolve) => setTimeout(resolve, pause(attempt))), until(signal, "abort"), until(window, "online")]);
    }
    if (signal.aborted) throw asApiError(new DOMException("", "AbortError"));
    if (this.phase === "offline") this.become(before === "offline" ? "sending" : before);
  }

  // ── how far ─────────────────────────────────────────────────────────────────────────────────

  private enter(map: number[], phase: Phase = "sending"): void {
    this.map = map;
    this.settled = 0;
    this.underway.clear();
    this.meter.reset();
    this.sent = 0;
    this.become(phase);
  }

  private note(index: number, bytes: number, size: number): void {
    if (bytes > 0) this.lastSign = Date.now();
    this.underway.set(index, Math.min(bytes, size));
    this.map[index] = size ? Math.min(1, bytes / size) : 1;
    this.told();
  }

  private arrived(index: number, size: number): void {
    this.underway.delete(index);
    this.settled += size;
    this.map[index] = 1;
    this.told();
  }

  private told(): void {
    this.sent = this.settled + [...this.underway.values()].reduce((sum, bytes) => sum + bytes, 0);
    if (this.phase === "sending") this.meter.note(this.sent, performance.now());
    this.changed(this);
  }
}
