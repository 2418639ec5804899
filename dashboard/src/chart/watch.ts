/** How alarms look upon what a chart shows: their bounds, and when they were in ALARM. Pure functions. */

import type { Alarm, AlarmState, Step, Transition } from "../alarm-api";
import type { CounterInfo, Filter, Group, QueryRequest, Series } from "../api";
import { formatNumber } from "../format";
import { parseDuration, type Span } from "../time";
import type { ChartKind } from "./model";

/** One alarm, or one group's state of it, on a chart. */
export interface Watch {
  label: string;
  /** Bounds outside of which a datapoint breaches; empty where there is none, or where the axis does not measure it. */
  lower: Step[];
  upper: Step[];
  expected: Step[];
  /** Whether a datapoint on a bound breaches, too. */
  inclusive: boolean;
  /** When it was in ALARM. */
  spans: Span[];
  transitions: Transition[];
  /** Whether the axis must reach to the bounds, however far they are from the data. */
  whole: boolean;
}

/** Return the value of a line of steps at an instant; null where there is none. */
export function stepAt(steps: readonly Step[], ms: number): number | null {
  const step = steps.findLast(([from]) => from <= ms);
  return step === undefined || step === steps.at(-1) ? null : step[1];
}

/** Say which datapoints breach at an instant: "below 5", "5 or more", "below 5 or above 9"; "" where none can. */
export function breachText({ lower, upper, inclusive }: Pick<Watch, "lower" | "upper" | "inclusive">, ms: number): string {
  const [low, high] = [stepAt(lower, ms), stepAt(upper, ms)];
  const sides = [];
  if (low !== null) sides.push(inclusive ? `${boundText(low)} or less` : `below ${boundText(low)}`);
  if (high !== null) sides.push(inclusive ? `${boundText(high)} or more` : `above ${boundText(high)}`);
  return sides.join(" or ");
}

function boundText(value: number): string {
  return formatNumber(Number.isInteger(value) ? value : Number(value.toPrecision(4)));
}

/**
 * Return when an alarm was in ALARM within a range.
 *
 * Args: transitions within the range, oldest first; status, where it stands now, which tells what was before the first of them
 * where there is none; now, up to when anything is known.
 */
export function alarmSpans(
  transitions: readonly Transition[],
  status: Pick<AlarmState, "state" | "since"> | undefined,
  range: Span,
  now: number,
): Span[] {
  const end = Math.min(range.to, now);
  const spans: Span[] = [];
  let state = transitions[0]?.old_state ?? (status && status.since < end ? status.state : null);
  let from = range.from;
  for (const { at, new_state } of [...transitions, { at: end, new_state: null }]) {
    if (state === "ALARM" && at > from) spans.push({ from, to: at });
    state = new_state;
    from = at;
  }
  return spans;
}

/** Return the time that any of some spans covers, so that what is shaded for several alarms is shaded once. */
export function covered(spans: readonly Span[]): Span[] {
  const joined: Span[] = [];
  for (const { from, to } of [...spans].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last && from <= last.to) last.to = Math.max(last.to, to);
    else joined.push({ from, to });
  }
  return joined;
}

/** Return the lowest and highest bound that the axis should hold, given what the data alone needs. */
export function boundsExtent(watches: readonly Watch[], [low, high]: [number, number]): [number, number] {
  const reach = NEAR * Math.max(Math.abs(low), Math.abs(high));
  for (const { lower, upper, expected, whole } of watches) {
    for (const [, value] of [...lower, ...upper, ...expected]) {
      if (value === null || (!whole && Math.abs(value) > reach)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return [low, high];
}

// A bound further out than this many times the data would press the data flat.
const NEAR = 2.5;

/** What a chart asks, as far as it matters to which alarms watch the same. */
export interface Shown {
  counter: CounterInfo;
  query: Pick<QueryRequest, "counter" | "windowMs" | "measure" | "filters" | "by" | "show" | "overMs">;
  series: readonly Pick<Series, "group" | "other">[];
  kind: ChartKind;
}

/** An alarm's state that belongs to what a chart shows. */
export interface Watched {
  alarm: Alarm;
  status: AlarmState;
  /** Whether the axis measures what the bounds are of. */
  measured: boolean;
}

/** Return the alarms that watch what a chart shows; those in ALARM first. */
export function watchedBy(alarms: readonly Alarm[], shown: Shown): Watched[] {
  const { counter, query, series, kind } = shown;
  if (query.show !== "value" || query.overMs !== null) return [];
  const groups = series.map((one) => wholeGroup(one, counter, query.by ?? counter.group_by, query.filters));
  const found = alarms.flatMap((alarm) => {
    const windowMs = parseDuration(alarm.window ?? "") ?? Infinity;
    if (alarm.counter !== counter.name || alarm.measure !== query.measure) return [];
    return alarm.states.flatMap((status): Watched[] => {
      const at = groups.findIndex((group) => group !== null && sameGroup(group, status.group ?? alarm.group ?? {}, counter));
      // Of a stack, what is seen is the sum.
      const measured = query.windowMs === windowMs && (kind === "line" || groups.length === 1);
      return at < 0 ? [] : [{ alarm, status, measured }];
    });
  });
  const inAlarm = ({ status }: Watched) => status.state === "ALARM";
  return [...found.filter(inAlarm), ...found.filter((one) => !inAlarm(one))];
}

/** Return the value of every field of a counter's group_by that a series stands for; null where it is several groups. */
function wholeGroup(
  series: Pick<Series, "group" | "other">,
  counter: CounterInfo,
  by: readonly string[],
  filters: readonly Filter[],
): Group | null {
  if (series.other) return null;
  const entries: [string, Group[string]][] = [];
  for (const field of counter.group_by) {
    const values = by.includes(field)
      ? [series.group[field] ?? null]
      : filters.filter((filter) => filter.field === field).map(({ value }) => value);
    if (values.length !== 1) return null;
    entries.push([field, values[0]!]);
  }
  return Object.fromEntries(entries);
}

function sameGroup(one: Group, other: Group, { group_by }: CounterInfo): boolean {
  return group_by.every((field) => (one[field] ?? null) === (other[field] ?? null));
}
