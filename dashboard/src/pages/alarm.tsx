/** One alarm: its chart with the bounds, what each group's state is, what happened, and what people can do. */

import { useMemo, useRef, useState } from "preact/hooks";
import type { Alarm, AlarmChart, AlarmState } from "../alarm-api";
import { alarmWindow, toModel, toWatch, useAlarmChart } from "../alarm-chart";
import { alarmHref } from "../alarms";
import { Chart } from "../chart/chart";
import { chartColors } from "../color";
import { StateMark } from "../components/alarm-state";
import { GroupName, groupLabel } from "../components/group-name";
import { RangePicker } from "../components/range-picker";
import { type Column, SortableTable } from "../components/sortable";
import { ErrorNote, Skeleton } from "../components/states";
import { StateStrip } from "../components/state-strip";
import { formatDateTime, formatNumber } from "../format";
import { feed, useWindowEnd } from "../live-query";
import { navigate, place } from "../location";
import { dark, zone } from "../preferences";
import { truncate, visible } from "../text";
import { formatRange, HOUR, parseRange, type Range, SECOND, spanOf } from "../time";
import { Backtesting } from "./alarm-backtest";
import { Configuration } from "./alarm-configuration";
import { AcknowledgeDialog, MuteDialog, UnmuteButton } from "./alarm-dialogs";
import { AlarmHistory } from "./alarm-history";
import { Since, Subject } from "./alarms";

const REFRESH_MS = 1_000;

export function AlarmPage({ alarm }: { alarm: Alarm }) {
  const { params } = place.value;
  // The groups in ALARM come first, and change places: the one that is shown stays.
  const first = useRef<string | null>(null);
  first.current ??= alarm.states[0]?.key ?? null;
  const key = params.get("key") ?? first.current;
  const status = alarm.states.find((one) => one.key === key);
  const [dialog, setDialog] = useState<"mute" | "acknowledge" | null>(null);
  const inAlarm = alarm.states.filter(({ state }) => state === "ALARM");
  // The group that is shown is offered first.
  const offered = [...inAlarm.filter((one) => one === status), ...inAlarm.filter((one) => one !== status)];

  return (
    <>
      <div class="page-head">
        <div class="alarm-title">
          <p>
            <a href="/alarms">Alarms</a>
          </p>
          <h1>
            <bdi>{alarm.name}</bdi>
          </h1>
          <p class="alarm-standing" aria-label="State">
            <StateMark state={alarm.state} />
            {alarm.each && inAlarm.length > 0 && (
              <span class="hint">
                {inAlarm.length} of {formatNumber(alarm.groups)} groups
              </span>
            )}
            <Since since={alarm.since} />
          </p>
        </div>
        <div class="actions">
          {inAlarm.length > 0 && (
            <button type="button" class="primary" onClick={() => setDialog("acknowledge")}>
              Acknowledge…
            </button>
          )}
          <button type="button" onClick={() => setDialog("mute")}>
            Mute…
          </button>
        </div>
      </div>
      <Standing alarm={alarm} status={status} />
      <div class="alarm-page">
        <AlarmChartCard alarm={alarm} chartKey={key} status={status} />
        {alarm.each && <Groups alarm={alarm} shown={key} />}
        <Backtesting alarm={alarm} shown={status} />
        <AlarmHistory alarm={alarm.name} />
        <Configuration alarm={alarm} />
      </div>
      {dialog === "mute" && <MuteDialog alarm={alarm} onClose={() => setDialog(null)} />}
      {dialog === "acknowledge" && offered.length > 0 && (
        <AcknowledgeDialog alarm={alarm} states={offered} onClose={() => setDialog(null)} />
      )}
    </>
  );
}

/** What is to be known before anything else: what it means, that nobody is told, that somebody sees to it. */
function Standing({ alarm, status }: { alarm: Alarm; status: AlarmState | undefined }) {
  const { muted, description } = alarm;
  const acknowledged = status?.acknowledged;
  return (
    <div class="standing">
      {description && <p class="description">{visible(description)}</p>}
      {muted && (
        <div class="note note-muted">
          <p>
            <strong>Muted</strong> until {formatDateTime(muted.until, zone.value)}
            {muted.schedule !== null && (
              <>
                , by the schedule <bdi>{muted.schedule}</bdi> of the definition
              </>
            )}
            {muted.by && <>, by {visible(muted.by)}</>}
            {muted.note && <>: {visible(muted.note)}</>}
          </p>
          {muted.id !== null && <UnmuteButton id={muted.id} label={`Unmute ${alarm.name}`} />}
        </div>
      )}
      {acknowledged && (
        <div class="note note-acknowledged">
          <p>
            <strong>Acknowledged</strong> at {formatDateTime(acknowledged.at, zone.value)}
            {acknowledged.by && <> by {visible(acknowledged.by)}</>}
            {acknowledged.note && <>: {visible(acknowledged.note)}</>}
          </p>
        </div>
      )}
    </div>
  );
}

function nameOf(status: AlarmState | undefined): string {
  return status?.group ? groupLabel({ group: status.group, fields: Object.keys(status.group) }) : "";
}

interface AlarmChartCardProps {
  alarm: Alarm;
  chartKey: string | null;
  status: AlarmState | undefined;
}

function AlarmChartCard({ alarm, chartKey, status }: AlarmChartCardProps) {
  const { params } = place.value;
  const standard: Range = alarm.window === null ? { lastMs: HOUR } : { windows: 60 };
  const range = parseRange(params.get("range")) ?? standard;
  const windowMs = alarmWindow(alarm);
  const end = useWindowEnd(windowMs);
  const span = spanOf(range, windowMs, end - windowMs);
  const { answer, error, reload } = useAlarmChart(alarm, chartKey, span, REFRESH_MS);
  const choose = (chosen: Range) => {
    const next = new URLSearchParams(params);
    if (formatRange(chosen) === formatRange(standard)) next.delete("range");
    else next.set("range", formatRange(chosen));
    navigate("/alarms", next);
  };
  return (
    <section class="card" aria-label="Chart">
      <header class="card-head">
        <h2>{visible(alarm.condition)}</h2>
        <p class="card-note">
          <Subject alarm={alarm} />
          {alarm.each && status?.group && (
            <>
              {": "}
              <GroupName group={status.group} fields={Object.keys(status.group)} />
            </>
          )}
        </p>
        <RangePicker range={range} span={span} onChange={choose} />
      </header>
      {error && <ErrorNote error={error} onRetry={reload} />}
      {!answer && !error && chartKey !== null && <Skeleton lines={8} label="Loading the chart" />}
      {chartKey === null && (
        <p class="nothing">
          No group has a state yet: that takes a complete window of {alarm.window}, and something to compare it with.
        </p>
      )}
      {answer && (
        <Drawn
          alarm={alarm}
          chart={answer}
          status={status}
          completeUntil={end - windowMs}
          onZoom={({ from, to }) => choose({ from: Math.floor(from), to: Math.ceil(to) })}
        />
      )}
    </section>
  );
}

interface DrawnProps {
  alarm: Alarm;
  chart: AlarmChart;
  status: AlarmState | undefined;
  completeUntil: number;
  onZoom: (span: { from: number; to: number }) => void;
}

function Drawn({ alarm, chart, status, completeUntil, onZoom }: DrawnProps) {
  const tick = useWindowEnd(5 * SECOND); // the time in ALARM grows
  const isDark = dark.value;
  const watch = useMemo(
    () => ({ ...toWatch(alarm, chart, status, feed.now()), label: alarm.name, whole: true }),
    [chart, status?.state, status?.since, tick],
  );
  const label = nameOf(status) || (alarm.measure ?? alarm.system ?? "");
  const color = chartColors(isDark).groups[0]!;
  const model = useMemo(
    () => toModel(alarm, chart, watch, label, color, completeUntil),
    [alarm.measure, chart, watch, label, color, completeUntil],
  );
  if (alarm.window === null) return <StateStrip name={alarm.name} span={chart} spans={watch.spans} />;
  const kinds = new Set(watch.transitions.map(({ new_state }) => new_state));
  return (
    <>
      <div class="alarm-chart">
        <Chart
          model={model}
          title={`${alarm.name}: ${visible(alarm.measure ?? alarm.system ?? "")} per ${alarm.window}`}
          onZoom={onZoom}
        />
      </div>
      <ul class="legend" aria-label="Legend">
        <li>
          <i class="swatch" style={{ background: color }} />
          <span>{label}</span>
        </li>
        {(watch.lower.length > 0 || watch.upper.length > 0) && (
          <li class="legend-note">
            <i class="swatch-bound" />
            <span>bound; the ticks point to where it breaches</span>
          </li>
        )}
        {watch.expected.length > 0 && (
          <li class="legend-note">
            <i class="swatch-band" />
            <span>expected</span>
          </li>
        )}
        {watch.spans.length > 0 && (
          <li class="legend-note">
            <i class="swatch-alarm" />
            <span>time in alarm</span>
          </li>
        )}
        {[...kinds].map((state) => (
          <li key={state} class="legend-note">
            change to <StateMark state={state} />
          </li>
        ))}
        {chart.to > completeUntil && (
          <li class="legend-note">
            <i class="swatch-open" />
            <span>still filling</span>
          </li>
        )}
      </ul>
    </>
  );
}

function Groups({ alarm, shown }: { alarm: Alarm; shown: string | null }) {
  const fields = Object.keys(alarm.states.find(({ group }) => group)?.group ?? {});
  const columns: Column<AlarmState>[] = [
    {
      key: "group",
      title: fields.map(visible).join(" · ") || "group",
      order: nameOf,
      render: (status) => (
        <a href={alarmHref(alarm.name, status.key)} aria-current={status.key === shown ? "true" : undefined}>
          {status.group ? <GroupName group={status.group} fields={fields} /> : truncate(visible(status.key), 120)}
        </a>
      ),
    },
    { key: "state", title: "state", order: ({ state }) => state, render: ({ state }) => <StateMark state={state} /> },
    {
      key: "since",
      title: "since",
      order: ({ since }) => since,
      render: ({ since }) => formatDateTime(since, zone.value, true),
    },
    {
      key: "acknowledged",
      title: "acknowledged",
      render: ({ acknowledged }) =>
        acknowledged ? truncate(visible([acknowledged.by, acknowledged.note].filter(Boolean).join(": ")), 80) || "yes" : "–",
    },
  ];
  const left = alarm.groups - alarm.states.length;
  return (
    <section class="card" aria-label="Groups">
      <header class="card-head">
        <h2>Groups</h2>
        <p class="card-note">
          {alarm.groups === 0 ? "none has a state yet" : `${formatNumber(alarm.groups)} watched`}
          {left > 0 && `, ${formatNumber(left)} of them not listed here`}
          {alarm.groups_left_out > 0 && `; ${formatNumber(alarm.groups_left_out)} more are over groups_max and not watched`}
        </p>
      </header>
      {alarm.states.length > 0 && (
        <SortableTable
          caption="States of the groups"
          columns={columns}
          rows={alarm.states}
          rowKey={({ key }) => key}
          rowsShown={12}
        />
      )}
    </section>
  );
}
