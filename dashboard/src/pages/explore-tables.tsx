/** The numbers under the chart: a row for each group, or a row for each window. */

import type { QueryRequest, QueryResult, Series } from "../api";
import { type ChartModel, firstOpen, formatValue } from "../chart/model";
import { ChangeMark } from "../components/change";
import { GroupName, groupLabel } from "../components/group-name";
import { type Column, SortableTable } from "../components/sortable";
import { formatNumber, formatPercent, formatWindow } from "../format";
import { zone } from "../preferences";
import { compare, groupKey, isAdditive } from "../series";
import { visible } from "../text";

interface GroupTableProps {
  result: QueryResult;
  query: QueryRequest;
  fields: readonly string[];
  completeUntil: number;
  colorOf: (key: string) => string;
}

export function GroupTable({ result, query, fields, completeUntil, colorOf }: GroupTableProps) {
  const additive = isAdditive(query.measure);
  const sum = result.series.reduce((all, series) => all + (series.total ?? 0), 0);
  const complete = ({ points }: Series) =>
    points.filter(([start, value]) => value !== null && start + query.windowMs <= completeUntil);
  const latest = (series: Series) => complete(series).at(-1)?.[1] ?? null;
  const highest = (series: Series) =>
    series.points.reduce<number | null>((high, [, value]) => (value === null ? high : Math.max(high ?? value, value)), null);
  const change = (series: Series) => compare([series], query.measure, query.windowMs, completeUntil).change;

  const columns: Column<Series>[] = [
    {
      key: "group",
      title: fields.map(visible).join(" · ") || "group",
      order: (series) => groupLabel({ ...series, fields }),
      render: (series) => (
        <>
          <i class="swatch" style={{ background: colorOf(groupKey(series)) }} />
          <GroupName group={series.group} fields={fields} other={series.other} />
        </>
      ),
    },
    {
      key: "total",
      title: visible(query.measure),
      numeric: true,
      order: (series) => series.total,
      render: (series) => formatNumber(series.total),
    },
  ];
  if (additive && sum !== 0) {
    columns.push({
      key: "share",
      title: "share",
      numeric: true,
      order: (series) => series.total,
      render: (series) => formatPercent((series.total ?? 0) / sum),
    });
  }
  if (query.compare) {
    columns.push(
      {
        key: "previous",
        title: "before",
        numeric: true,
        order: (series) => series.previous_total ?? null,
        render: (series) => formatNumber(series.previous_total),
      },
      {
        key: "change",
        title: "change",
        numeric: true,
        order: change,
        render: (series) => <ChangeMark change={change(series)} previous={formatNumber(series.previous_total)} />,
      },
    );
  }
  columns.push(
    {
      key: "latest",
      title: "last full window",
      numeric: true,
      order: latest,
      render: (series) => formatValue(latest(series), query.show),
    },
    {
      key: "highest",
      title: "highest window",
      numeric: true,
      order: highest,
      render: (series) => formatValue(highest(series), query.show),
    },
  );
  return (
    <SortableTable
      caption="Numbers by group"
      columns={columns}
      rows={result.series}
      rowKey={groupKey}
      last={(series) => series.other === true}
    />
  );
}

interface WindowTableProps {
  model: ChartModel;
  result: QueryResult;
  fields: readonly string[];
}

interface WindowRow {
  index: number;
  start: number;
}

export function WindowTable({ model, result, fields }: WindowTableProps) {
  const open = firstOpen(model);
  const rows: WindowRow[] = model.starts.map((start, index) => ({ index, start })).reverse();
  const columns: Column<WindowRow>[] = [
    {
      key: "window",
      title: "window",
      order: ({ start }) => start,
      render: ({ index, start }) => (
        <>
          {formatWindow(start, model.windowMs, zone.value)}
          {index >= open && <span class="filling"> still filling</span>}
        </>
      ),
    },
    ...result.series.map((series, at): Column<WindowRow> => ({
      key: groupKey(series),
      title: <GroupName group={series.group} fields={fields} other={series.other} />,
      numeric: true,
      order: ({ index }) => model.series[at]?.values[index] ?? null,
      render: ({ index }) => formatValue(model.series[at]?.values[index], model.show),
    })),
  ];
  return (
    <SortableTable
      caption="Numbers by window"
      columns={columns}
      rows={rows}
      rowKey={({ start }) => String(start)}
      rowsShown={60}
    />
  );
}
