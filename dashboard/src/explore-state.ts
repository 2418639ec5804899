/** What Explore shows, as its address says it. Parameters have the names of the HTTP API's; those at their default are left out. */

import {
  appendFields,
  appendFilters,
  type CounterInfo,
  type Definition,
  type Filter,
  parseLiteral,
  type QueryRequest,
  type Show,
} from "./api";
import type { ChartKind } from "./chart/model";
import { isAdditive } from "./series";
import { formatDuration, formatRange, parseDuration, parseRange, type Range, spanOf, windowChoices, windowFor } from "./time";

export const SHOWS: Record<Show, string> = {
  value: "Value",
  rate: "Per second",
  share: "Share of total",
  change: "Change to the window before",
};
export const CHART_KINDS: Record<ChartKind, string> = { line: "Lines", area: "Stacked area", bars: "Bars" };
export const TOPS = [3, 5, 8, 20, 50];
const TOP_MAX = 100;
const DEFAULT_RANGE: Range = { windows: 60 };
const POINTS_MAX = 2_000;

export type TableKind = "groups" | "windows";

export interface ExploreState {
  counter: CounterInfo;
  measure: string;
  /** null: the window that suits the range. */
  windowMs: number | null;
  range: Range;
  filters: Filter[];
  by: string[];
  overMs: number | null;
  show: Show;
  compare: boolean;
  top: number;
  other: boolean;
  chart: ChartKind;
  table: TableKind;
}

function oneOf<T extends string>(text: string | null, choices: Record<T, unknown>): T | null {
  return text !== null && Object.hasOwn(choices, text) ? (text as T) : null;
}

export function storedWindows(counter: CounterInfo): number[] {
  return counter.windows.flatMap((window) => parseDuration(window) ?? []);
}

/** Return the windows that make sense for a range: those that divide it into at most a few thousand points. */
export function usableWindows(state: Pick<ExploreState, "counter" | "range">): number[] {
  const choices = windowChoices(storedWindows(state.counter));
  const { range } = state;
  if ("windows" in range) return choices;
  const length = "from" in range ? range.to - range.from : range.lastMs;
  return choices.filter((size, index) => length / size <= POINTS_MAX || index === choices.length - 1);
}

/** Read the state from the address. Whatever it names that does not exist (any more) falls back to the default. */
export function readState(params: URLSearchParams, definition: Definition): ExploreState {
  const counter = definition.counters.find(({ name }) => name === params.get("counter")) ?? definition.counters[0]!;
  const measure = counter.measures.find((name) => name === params.get("measure")) ?? counter.measures[0]!;
  const range = parseRange(params.get("range")) ?? DEFAULT_RANGE;
  const windowMs = parseDuration(params.get("window") ?? "");
  const over = parseDuration(params.get("over") ?? "");
  // As the API reads it: a text that is a field as it stands is that one, any other is several with commas.
  const by = params.has("by")
    ? params.getAll("by").flatMap((text) => (counter.group_by.includes(text) ? [text] : text.split(",")))
    : counter.group_by;
  const top = Number(params.get("top"));
  const state: ExploreState = {
    counter,
    measure,
    range,
    windowMs: windowMs !== null && usableWindows({ counter, range }).includes(windowMs) ? windowMs : null,
    filters: counter.group_by.flatMap((field) => readFilters(params, field)),
    by: counter.group_by.filter((field) => by.includes(field)),
    overMs: over,
    show: oneOf(params.get("show"), SHOWS) ?? "value",
    compare: params.get("compare") === "previous",
    top: Number.isInteger(top) && top > 0 && top <= TOP_MAX ? top : 8,
    other: params.get("other") !== "false",
    chart: oneOf(params.get("chart"), CHART_KINDS) ?? defaultChart(measure),
    table: params.get("table") === "windows" ? "windows" : "groups",
  };
  if (over !== null && (over % windowOf(state) !== 0 || over <= windowOf(state))) state.overMs = null;
  return state;
}

/** Read the filters of a field. What `group.` leaves open, the text or the literal that it reads as, are two. */
function readFilters(params: URLSearchParams, field: string): Filter[] {
  const values = [...params].flatMap(([name, text]) => {
    if (name === `group.${field}`) return [text, parseLiteral(text)];
    return name === `exact.${field}` ? [parseLiteral(text)] : [];
  });
  return [...new Set(values)].flatMap((value) => (value === undefined ? [] : [{ field, value }]));
}

function defaultChart(measure: string): ChartKind {
  return isAdditive(measure) ? "bars" : "line";
}

/** Write the state as parameters that `readState` reads back to the same. */
export function writeState(state: ExploreState): URLSearchParams {
  const params = new URLSearchParams({ counter: state.counter.name });
  const put = (name: string, value: string, standard: string) => {
    if (value !== standard) params.set(name, value);
  };
  put("measure", state.measure, state.counter.measures[0]!);
  put("range", formatRange(state.range), formatRange(DEFAULT_RANGE));
  put("window", state.windowMs === null ? "" : formatDuration(state.windowMs), "");
  appendFilters(params, state.filters);
  if (state.by.length !== state.counter.group_by.length) appendFields(params, state.by);
  put("over", state.overMs === null ? "" : formatDuration(state.overMs), "");
  put("show", state.show, "value");
  put("compare", state.compare ? "previous" : "", "");
  put("top", String(state.top), "8");
  put("other", String(state.other), "true");
  put("chart", state.chart, defaultChart(state.measure));
  put("table", state.table, "groups");
  return params;
}

export function windowOf(state: Pick<ExploreState, "windowMs" | "range" | "counter">): number {
  return state.windowMs ?? windowFor(state.range, storedWindows(state.counter));
}

/** Return the query that answers the state; `now` ends a range that ends now. */
export function toQuery(state: ExploreState, now: number): QueryRequest {
  const windowMs = windowOf(state);
  return {
    ...spanOf(state.range, windowMs, now),
    counter: state.counter.name,
    windowMs,
    measure: state.measure,
    filters: state.filters,
    by: state.by.length === state.counter.group_by.length ? null : state.by,
    top: state.top,
    other: state.other && state.by.length > 0,
    overMs: state.overMs,
    show: state.show,
    compare: state.compare,
  };
}

/** Return the state after choosing another counter: what both know is kept, the rest begins anew. */
export function withCounter(state: ExploreState, counter: CounterInfo): ExploreState {
  const measure = counter.measures.includes(state.measure) ? state.measure : counter.measures[0]!;
  return {
    ...state,
    counter,
    measure,
    windowMs: null,
    filters: state.filters.filter(({ field }) => counter.group_by.includes(field)),
    by: counter.group_by,
    overMs: null,
    chart: defaultChart(measure),
  };
}
