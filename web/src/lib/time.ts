/** Times, sizes and rates as people read and type them. Seconds are numbers ≥ 0 everywhere. */

const two = (n: number) => String(n).padStart(2, "0");

/** Seconds → `4:03`, `1:04:03`, or with decimals `4:03.120`. */
export function timecode(seconds: number, decimals = 0): string {
  const unit = 10 ** decimals;
  const whole = Math.round(Math.max(0, seconds) * unit);
  const rest = whole % unit;
  const all = (whole - rest) / unit;
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const head = h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  return decimals ? `${head}.${String(rest).padStart(decimals, "0")}` : head;
}

/** `1:04:03.5`, `4:03`, `90`, `90s`, `1m30s`, `1h 2m` → seconds; null if it is none of these. */
export function parseTimecode(text: string): number | null {
  const clean = text.trim().replace(",", ".");
  if (/^\d+(\.\d+)?s?$/.test(clean)) return Number.parseFloat(clean);
  const colons = /^(?:(\d+):)?([0-9]{1,2}):([0-5]?\d(?:\.\d+)?)$/.exec(clean);
  if (colons) {
    const [, h, m, s] = colons;
    if (h !== undefined && Number(m) > 59) return null;
    return Number(h ?? 0) * 3600 + Number(m) * 60 + Number(s);
  }
  const units = /^(?:(\d+(?:\.\d+)?)h)?\s*(?:(\d+(?:\.\d+)?)m(?:in)?)?\s*(?:(\d+(?:\.\d+)?)s)?$/.exec(clean);
  if (clean && units) return Number(units[1] ?? 0) * 3600 + Number(units[2] ?? 0) * 60 + Number(units[3] ?? 0);
  return null;
}

/** Seconds → `4 minutes 3 seconds`, for `aria-valuetext`. */
export function spoken(seconds: number): string {
  const all = Math.round(Math.max(0, seconds) * 10) / 10;
  const parts: [number, string][] = [
    [Math.floor(all / 3600), "hour"],
    [Math.floor(all / 60) % 60, "minute"],
    [Math.round((all % 60) * 10) / 10, "second"],
  ];
  const said = parts.filter(([n]) => n > 0).map(([n, word]) => `${n} ${word}${n === 1 ? "" : "s"}`);
  return said.join(" ") || "0 seconds";
}

/** Seconds → `12 s`, `3 min`, `1 h 5 min`: how long something takes. */
export function roughly(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** Bytes → `812 kB`, `3.4 MB`: decimal units, as disks and networks are sold. */
export function bytes(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  let value = size;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** An ISO date → `just now`, `5 min ago`, `yesterday`, `12 Nov`. */
export function ago(iso: string, now = Date.now()): string {
  const then = new Date(iso);
  const s = (now - then.getTime()) / 1000;
  if (s < 45) return "just now";
  if (s < 3600) return `${Math.max(1, Math.round(s / 60))} min ago`;
  if (s < 86_400) return `${Math.round(s / 3600)} h ago`;
  if (s < 2 * 86_400) return "yesterday";
  const sameYear = then.getFullYear() === new Date(now).getFullYear();
  return then.toLocaleDateString("en-GB", { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) });
}

/** An ISO date in full, for titles. */
export const exactly = (iso: string) => new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
