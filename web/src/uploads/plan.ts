/** Which parts a file has, which are there already, and how fast it goes. Nothing here touches the network. */

export interface Part {
  number: number;
  start: number;
  size: number;
}

export interface Arrived {
  number: number;
  size: number;
  sha256: string | null;
}

const MIB = 1 << 20;

/** How large parts should be, in bytes: small ones lose little when a connection breaks, but there are at most 2,000. */
export const partSize = (size: number) => Math.max(8, Math.ceil(size / 2000 / MIB)) * MIB;

/** Cut a file of `size` bytes into parts of `partSize`; the last may be shorter. */
export function parts(size: number, partSize: number): Part[] {
  const count = Math.max(1, Math.ceil(size / partSize));
  return Array.from({ length: count }, (_, n) => ({ number: n + 1, start: n * partSize, size: Math.min(partSize, size - n * partSize) }));
}

/** Of the parts: those that may be there as the file has them, and those that surely aren't. */
export function split(all: Part[], arrived: Arrived[]): { there: [Part, Arrived][]; missing: Part[] } {
  const known = new Map(arrived.map((one) => [one.number, one]));
  const there: [Part, Arrived][] = [];
  const missing: Part[] = [];
  for (const part of all) {
    const one = known.get(part.number);
    if (one && one.size === part.size) there.push([part, one]);
    else missing.push(part);
  }
  return { there, missing };
}

/** Full jitter: anything up to 0.5 s, 1 s, 2 s … 20 s. */
export function pause(attempt: number, random = Math.random): number {
  return random() * Math.min(20_000, 500 * 2 ** attempt) + 100;
}

const WINDOW_MS = 6000;

/** Bytes a second over the last seconds; a stall counts. */
export class Meter {
  private seen: [number, number][] = [];

  reset(): void {
    this.seen = [];
  }

  note(bytes: number, now: number): void {
    const last = this.seen.at(-1);
    if (last && bytes < last[1]) this.seen = []; // a connection broke: what it had sent is sent again
    this.seen.push([now, bytes]);
    while (this.seen.length > 2 && now - (this.seen[0]?.[0] ?? now) > WINDOW_MS) this.seen.shift();
  }

  rate(now: number): number | null {
    const first = this.seen[0];
    const last = this.seen.at(-1);
    if (!first || !last || now - first[0] < 500) return null;
    return Math.max(0, ((last[1] - first[1]) * 1000) / (now - first[0]));
  }
}
