/** Query results in the browser: pure functions over them, so that live merging can be tested without a browser. */

import type { Point, QueryRequest, QueryResult, Series } from "./api";

/** A key that tells groups apart by value and type: null, "null" and "NULL" are three groups. */
export function groupKey(series: Pick<Series, "group" | "other">): string {
  return series.other ? "other" : JSON.stringify(Object.entries(series.group));
}

/** True when a total is the sum of its windows, as for count and sum; not for min, max and mean. */
export function isAdditive(measure: string): boolean {
  return measure === "count" || measure.startsWith("sum(");
}

/** True when the answer to a part of the range is enough to bring the whole up to date. */
export function canMerge(query: QueryRequest): boolean {
  return isAdditive(query.measure) && query.show === "value" && query.overMs === null;
}

function sum(points: readonly Point[]): number {
  return points.reduce((total, [, value]) => total + (value ?? 0), 0);
}

function replacePoints(points: readonly Point[], fresh: readonly Point[], from: number, to: number): Point[] {
  const kept = points.filter(([start]) => start < from || start >= to);
  return [...kept, ...fresh].sort((a, b) => a[0] - b[0]);
}

/** Add points of several series window by window. */
export function addPoints(lists: readonly (readonly Point[])[]): Point[] {
  const sums = new Map<number, number>();
  for (const list of lists) {
    for (const [start, value] of list) sums.set(start, (sums.get(start) ?? 0) + (value ?? 0));
  }
  return [...sums].sort((a, b) => a[0] - b[0]);
}

/**
 * Bring a result up to date with the answer for a part of its range, in which no group was left out.
 *
 * Groups that are not shown go into the rest, as on the server; which groups are the largest is decided anew only
 * when the whole range is asked for again. Only for queries that `canMerge` accepts.
 */
export function mergeResult(current: QueryResult, part: QueryResult, query: QueryRequest): QueryResult {
  const fresh = new Map(part.series.map((series) => [groupKey(series), series]));
  const update = (series: Series, points: Point[]): Series => {
    const merged = replacePoints(series.points, points, part.from, part.to);
    return { ...series, points: merged, total: sum(merged) };
  };

  const shown = current.series
    .filter((series) => !series.other)
    .map((series) => {
      const key = groupKey(series);
      const points = fresh.get(key)?.points ?? [];
      fresh.delete(key);
      return update(series, points);
    });

  let rest = current.series.find((series) => series.other);
  // What the part has of groups that are never shown: those above the server's cap.
  const unshown = part.series.filter((series) => series.other);
  let newcomers = [...fresh.values()].filter((series) => !series.other);
  const places = query.top === null ? Infinity : query.top - shown.length;
  if (rest === undefined && newcomers.length <= places) {
    const before = query.compare ? { previous: [], previous_total: 0 } : {};
    shown.push(...newcomers.map((series) => ({ ...update(series, series.points), ...before })));
  } else {
    unshown.push(...newcomers);
    newcomers = [];
  }
  if (unshown.length > 0 && (query.other || query.top === null)) rest ??= { group: {}, other: true, total: 0, points: [] };
  rest &&= update(rest, addPoints(unshown.map((series) => series.points)));
  shown.sort((a, b) => (b.total ?? 0) - (a.total ?? 0));
  return { ...current, groups: current.groups + newcomers.length, series: rest ? [...shown, rest] : shown };
}

/** Return the values of points at the given window starts; `missing` where there is none. */
export function align(points: readonly Point[], starts: readonly number[], missing: number | null): (number | null)[] {
  const values = new Map(points);
  return starts.map((start) => (values.has(start) ? values.get(start)! : missing));
}

export interface Comparison {
  total: number | null;
  previous: number | null;
  /** (now − before) / before, over complete windows where that can be told; null when there was nothing before. */
  change: number | null;
}

/**
 * Compare series with the period before.
 *
 * The window that is still filling counts in `total`, but not in `change`: set against a full one it would always look
 * like a drop. `completeUntil` is the end of the last complete window.
 */
export function compare(series: readonly Series[], measure: string, windowMs: number, completeUntil: number): Comparison {
  if (!isAdditive(measure)) {
    const [only] = series; // such measures cannot be added up: ask for `by=` to have them over all groups
    const total = only?.total ?? null;
    const previous = only?.previous_total ?? null;
    return { total, previous, change: relativeChange(total, previous) };
  }
  const complete = ([start]: Point) => start + windowMs <= completeUntil;
  const total = series.reduce((all, one) => all + (one.total ?? 0), 0);
  const previous = series.reduce((all, one) => all + (one.previous_total ?? 0), 0);
  const now = series.reduce((all, one) => all + sum(one.points.filter(complete)), 0);
  const before = series.reduce((all, one) => all + sum((one.previous ?? []).filter(complete)), 0);
  return { total, previous, change: relativeChange(now, before) };
}

export function relativeChange(now: number | null, before: number | null): number | null {
  return now === null || before === null || before === 0 ? null : (now - before) / Math.abs(before);
}
