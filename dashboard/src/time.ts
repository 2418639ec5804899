/** Durations, windows and ranges. All times are UTC milliseconds since the epoch; ranges and windows are half-open. */

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const UNITS: [string, number][] = [
  ["d", DAY],
  ["h", HOUR],
  ["m", MINUTE],
  ["s", SECOND],
  ["ms", 1],
];

/** Return the milliseconds of "90s", "15m", "24h" or "7d"; null for anything else. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  const unit = UNITS.find(([name]) => name === match?.[2]);
  const ms = match && unit ? Number(match[1]) * unit[1] : 0;
  return ms > 0 ? ms : null;
}

/** Return a duration in the largest unit that divides it: 60000 → "1m". */
export function formatDuration(ms: number): string {
  const [name, size] = UNITS.find(([, size]) => ms % size === 0) ?? ["ms", 1];
  return `${ms / size}${name}`;
}

export interface Span {
  from: number;
  to: number;
}

/** A range as the user chose it: so many windows, so long, or between two instants. The first two end now. */
export type Range = { windows: number } | { lastMs: number } | Span;

export function floorTo(ms: number, size: number): number {
  return Math.floor(ms / size) * size;
}

/** Return the end of the window that is open at an instant. */
export function windowEnd(now: number, windowMs: number): number {
  return floorTo(now, windowMs) + windowMs;
}

/** Return the whole windows that a range covers; a range that ends now includes the open window. */
export function spanOf(range: Range, windowMs: number, now: number): Span {
  if ("from" in range) {
    const from = floorTo(range.from, windowMs);
    return { from, to: Math.max(from + windowMs, Math.ceil(range.to / windowMs) * windowMs) };
  }
  const to = windowEnd(now, windowMs);
  const length = "windows" in range ? range.windows * windowMs : Math.max(1, Math.round(range.lastMs / windowMs)) * windowMs;
  return { from: to - length, to };
}

const ROUND_WINDOWS = [
  SECOND,
  5 * SECOND,
  10 * SECOND,
  30 * SECOND,
  MINUTE,
  5 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  HOUR,
  3 * HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  7 * DAY,
];

/** Return the windows a counter can be read with: its own, and round multiples of them. */
export function windowChoices(storedMs: readonly number[]): number[] {
  const multiples = ROUND_WINDOWS.filter((size) => storedMs.some((stored) => size % stored === 0));
  return [...new Set([...storedMs, ...multiples])].sort((a, b) => a - b);
}

/** Return the finest window with which a range has at most `pointsMax` points, or the coarsest there is. */
export function windowFor(range: Range, storedMs: readonly number[], pointsMax = 360): number {
  const choices = windowChoices(storedMs);
  if ("windows" in range) return choices[0]!;
  const length = "from" in range ? range.to - range.from : range.lastMs;
  return choices.find((size) => length / size <= pointsMax) ?? choices.at(-1)!;
}

/** Return the starts of all windows in a span. */
export function windowStarts(span: Span, windowMs: number): number[] {
  const count = Math.max(0, Math.ceil((span.to - span.from) / windowMs));
  return Array.from({ length: count }, (_, index) => span.from + index * windowMs);
}

/** Return the windows of `windowMs` that touch a span, cut to `within`; null when none does. */
export function touchedWindows(span: Span, windowMs: number, within: Span): Span | null {
  const from = Math.max(within.from, floorTo(span.from, windowMs));
  const to = Math.min(within.to, Math.ceil(span.to / windowMs) * windowMs);
  return from < to ? { from, to } : null;
}

/** Read a range from text: "60w", "6h", or "FROM/TO" in epoch milliseconds or ISO 8601; null for anything else. */
export function parseRange(text: string | null): Range | null {
  if (text === null) return null;
  const windows = /^(\d{1,4})w$/.exec(text);
  if (windows) return Number(windows[1]) > 0 ? { windows: Number(windows[1]) } : null;
  if (text.includes("/")) {
    const [from, to] = text.split("/").map((part) => (/^-?\d+$/.test(part) ? Number(part) : Date.parse(part)));
    return Number.isFinite(from) && Number.isFinite(to) && from! < to! ? { from: from!, to: to! } : null;
  }
  const lastMs = parseDuration(text);
  return lastMs === null ? null : { lastMs };
}

/** Write a range as `parseRange` reads it. */
export function formatRange(range: Range): string {
  if ("windows" in range) return `${range.windows}w`;
  if ("lastMs" in range) return formatDuration(range.lastMs);
  const iso = (ms: number) => new Date(ms).toISOString().replace(/(?::00)?\.000Z$/, "Z");
  return `${iso(range.from)}/${iso(range.to)}`;
}
