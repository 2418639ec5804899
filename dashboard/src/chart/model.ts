/** What a chart shows, apart from how it is drawn. */

import type { Show } from "../api";
import { formatChange, formatCompact, formatNumber, formatPercent } from "../format";
import type { Span } from "../time";
import { boundsExtent, type Watch } from "./watch";

export type ChartKind = "line" | "area" | "bars";

export interface ChartSeries {
  key: string;
  label: string;
  color: string;
  values: (number | null)[];
  /** The period before, shifted onto this one. */
  previous?: (number | null)[];
}

export interface ChartModel extends Span {
  kind: ChartKind;
  show: Show;
  windowMs: number;
  /** Window starts, ascending; every series has a value (or null) for each. */
  starts: number[];
  /** Windows that end after this instant are still filling. */
  completeUntil: number;
  /** True when zero belongs on the axis: counts and sums yes, the mean of temperatures no. */
  fromZero: boolean;
  series: ChartSeries[];
  /** Alarms on what is shown. */
  watches?: Watch[];
}

export interface Layer {
  base: number[];
  top: number[];
}

/** Stack values upon each other; negative ones hang below zero, so that a refund does not shrink what is above it. */
export function stack(series: readonly { values: readonly (number | null)[] }[]): Layer[] {
  const above: number[] = [];
  const below: number[] = [];
  return series.map(({ values }) => {
    const layer: Layer = { base: [], top: [] };
    values.forEach((value, index) => {
      const side = (value ?? 0) < 0 ? below : above;
      const base = side[index] ?? 0;
      side[index] = base + (value ?? 0);
      layer.base.push(base);
      layer.top.push(side[index]!);
    });
    return layer;
  });
}

/** Return the index of the first window that is still filling; the number of windows when none is. */
export function firstOpen(model: Pick<ChartModel, "starts" | "windowMs" | "completeUntil">): number {
  const index = model.starts.findIndex((start) => start + model.windowMs > model.completeUntil);
  return index < 0 ? model.starts.length : index;
}

/** Return the lowest and highest value that the y axis must hold, before rounding to even numbers. */
export function extent(model: ChartModel): [number, number] {
  let low = model.fromZero ? 0 : Infinity;
  let high = model.fromZero ? 0 : -Infinity;
  const hold = (value: number | null | undefined) => {
    if (value === null || value === undefined) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  if (model.kind === "line") model.series.forEach((series) => series.values.forEach(hold));
  else stack(model.series).forEach((layer) => layer.top.forEach(hold));
  const previous = previousLines(model);
  previous.forEach((line) => line.values.forEach(hold));
  [low, high] = boundsExtent(model.watches ?? [], [low, high]);
  return low > high ? [0, 1] : [low, high];
}

/** Return the lines of the period before: one a series, or their sum where series are stacked. */
export function previousLines(model: ChartModel): { color: string | null; values: (number | null)[] }[] {
  const lines = model.series.flatMap(({ previous, color }) => (previous ? [{ color, values: previous }] : []));
  if (model.kind === "line" || lines.length === 0) return lines;
  const sums = model.starts.map((_, index) => lines.reduce((sum, line) => sum + (line.values[index] ?? 0), 0));
  return [{ color: null, values: sums }];
}

export function formatValue(value: number | null | undefined, show: Show): string {
  if (show === "share") return formatPercent(value);
  if (show === "change") return value === null || value === undefined ? "–" : formatChange(value);
  return show === "rate" ? `${formatNumber(round(value))}/s` : formatNumber(value);
}

function round(value: number | null | undefined): number | null {
  return value === null || value === undefined ? null : Number(value.toPrecision(4));
}

export function axisValue(value: number, show: Show): string {
  return show === "share" || show === "change" ? formatPercent(value).replace(".0%", "%") : formatCompact(value);
}
