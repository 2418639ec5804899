/** Numbers and times as text. English throughout, as the page is, so that a shared screenshot reads the same everywhere. */

import { DAY, HOUR, MINUTE, SECOND } from "./time";

export type Zone = "utc" | "local";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const decimal = new Intl.NumberFormat("en-US", { maximumFractionDigits: 6 });
const precise = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat("en-US", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Return a number in full. One too large for the browser to hold exactly is marked with ≈. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return (Number.isSafeInteger(value) ? "" : "≈") + whole.format(value);
  return Math.abs(value) < 0.001 ? precise.format(value) : decimal.format(value);
}

/** Return a number in little room: 1234567 → "1.2M". */
export function formatCompact(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 10_000) return compact.format(value);
  return Math.abs(value) >= 100 ? decimal.format(Math.round(value * 10) / 10) : precise.format(value);
}

export function formatPercent(fraction: number | null | undefined): string {
  if (fraction === null || fraction === undefined) return "–";
  if (fraction !== 0 && Math.abs(fraction) < 0.001) return `${fraction < 0 ? "−" : ""}<0.1%`;
  return percent.format(fraction).replace("-", "−");
}

/** Return a change with its sign: 0.123 → "+12.3%", 1.5 → "+150%". Beyond tenfold it reads as a factor. */
export function formatChange(fraction: number): string {
  if (fraction >= 10) return `×${compact.format(fraction + 1)}`;
  const text = Math.abs(fraction) >= 1 ? `${Math.round(100 * fraction)}%`.replace("-", "−") : formatPercent(fraction);
  return fraction > 0 ? `+${text}` : text;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function formatBytes(bytes: number): string {
  const power = Math.max(0, Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? whole.format(value) : value.toFixed(1)} ${BYTE_UNITS[power]}`;
}

/** Return how long something lasted or lasts, in its two largest units: "2 d 4 h", "350 ms". */
export function formatElapsed(ms: number): string {
  if (ms < SECOND) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.floor((ms % MINUTE) / SECOND)} s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${Math.floor((ms % HOUR) / MINUTE)} min`;
  return `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h`;
}

interface Clock {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

function clock(ms: number, zone: Zone): Clock {
  const date = new Date(ms);
  return zone === "utc"
    ? {
        year: date.getUTCFullYear(),
        month: date.getUTCMonth() + 1,
        day: date.getUTCDate(),
        hour: date.getUTCHours(),
        minute: date.getUTCMinutes(),
        second: date.getUTCSeconds(),
      }
    : {
        year: date.getFullYear(),
        month: date.getMonth() + 1,
        day: date.getDate(),
        hour: date.getHours(),
        minute: date.getMinutes(),
        second: date.getSeconds(),
      };
}

const two = (value: number) => String(value).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function formatDate(ms: number, zone: Zone): string {
  const { year, month, day } = clock(ms, zone);
  return `${year}-${two(month)}-${two(day)}`;
}

/** Return the time of day; seconds only when there are some, or when `seconds` asks for them. */
export function formatTime(ms: number, zone: Zone, seconds = false): string {
  const { hour, minute, second } = clock(ms, zone);
  return `${two(hour)}:${two(minute)}` + (seconds || second ? `:${two(second)}` : "");
}

export function formatDateTime(ms: number, zone: Zone, seconds = false): string {
  return `${formatDate(ms, zone)} ${formatTime(ms, zone, seconds)}`;
}

/** Return a window as "2026-03-04 10:15 – 10:16", naming the second date only where it differs. */
export function formatWindow(start: number, windowMs: number, zone: Zone): string {
  const end = start + windowMs;
  const seconds = windowMs % MINUTE !== 0;
  const sameDay = formatDate(start, zone) === formatDate(end, zone);
  return `${formatDateTime(start, zone, seconds)} – ${(sameDay ? formatTime : formatDateTime)(end, zone, seconds)}`;
}

/**
 * Return the labels of a time axis.
 *
 * A day is named under the first label that is shown of it, since "00:00" alone does not say which; labels a day or more
 * apart are dates.
 *
 * Args: splits, where the axis has labels; those before `from` lie outside and get none.
 */
export function axisLabels(splits: readonly number[], from: number, stepMs: number, zone: Zone): string[] {
  let shownDate = "";
  return splits.map((ms) => {
    if (ms < from) return "";
    const { month, day } = clock(ms, zone);
    const date = `${day} ${MONTHS[month - 1]}`;
    if (stepMs >= DAY) return date;
    const time = formatTime(ms, zone, stepMs < MINUTE);
    if (date === shownDate) return time;
    shownDate = date;
    return `${time}\n${date}`;
  });
}

/** Return the name of the zone that times are shown in: "UTC", or the local one's, such as "Europe/Berlin". */
export function zoneName(zone: Zone): string {
  return zone === "utc" ? "UTC" : new Intl.DateTimeFormat("en").resolvedOptions().timeZone;
}

/** Return an instant as the value of an <input type="datetime-local">. */
export function toInputTime(ms: number, zone: Zone): string {
  return `${formatDate(ms, zone)}T${formatTime(ms, zone, true)}`;
}

/** Read the value of an <input type="datetime-local">; null when it is none. */
export function fromInputTime(text: string, zone: Zone): number | null {
  const ms = Date.parse(zone === "utc" ? `${text}Z` : text);
  return Number.isNaN(ms) ? null : ms;
}
