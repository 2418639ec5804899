/** From a query's result to a chart of it. */

import { useMemo, useRef } from "preact/hooks";
import type { QueryRequest, QueryResult } from "../api";
import { assignColors, chartColors } from "../color";
import { groupLabel } from "../components/group-name";
import { dark } from "../preferences";
import { align, groupKey, isAdditive } from "../series";
import { windowStarts } from "../time";
import type { ChartKind, ChartModel } from "./model";
import type { Watch } from "./watch";

interface Drawn {
  model: ChartModel;
  /** The color of each group key, for legends and tables beside the chart. */
  colorOf: (key: string) => string;
}

/** Return the chart of a result, in which each group keeps its color for as long as it is shown. */
export function useChart(
  result: QueryResult | null,
  query: QueryRequest,
  fields: readonly string[],
  kind: ChartKind,
  completeUntil: number,
  withPrevious: boolean,
  watches: Watch[],
): Drawn | null {
  const numbers = useRef<ReadonlyMap<string, number>>(new Map());
  const isDark = dark.value;
  return useMemo(() => {
    if (!result) return null;
    const keys = result.series.filter((series) => !series.other).map(groupKey);
    numbers.current = assignColors(keys, numbers.current);
    const colors = chartColors(isDark);
    const assigned = numbers.current;
    const colorOf = (key: string) => {
      const number = assigned.get(key);
      return number === undefined ? colors.rest : colors.groups[number % colors.groups.length]!;
    };
    const starts = windowStarts({ from: result.from, to: result.to }, query.windowMs);
    const fromZero = isAdditive(query.measure) && query.show !== "change";
    const missing = fromZero ? 0 : null;
    const model: ChartModel = {
      kind,
      show: query.show,
      from: result.from,
      to: result.to,
      windowMs: query.windowMs,
      starts,
      completeUntil,
      fromZero,
      watches,
      series: result.series.map((series) => ({
        key: groupKey(series),
        label: groupLabel({ group: series.group, fields, other: series.other }),
        color: colorOf(groupKey(series)),
        values: align(series.points, starts, missing),
        ...(withPrevious && series.previous && { previous: align(series.previous, starts, missing) }),
      })),
    };
    return { model, colorOf };
  }, [
    result,
    isDark,
    kind,
    completeUntil,
    JSON.stringify(fields),
    query.windowMs,
    query.measure,
    query.show,
    withPrevious,
    watches,
  ]);
}
