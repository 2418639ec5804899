/** What would have happened: an alarm, as it is or with other values, over stored history, before anybody is woken up. */

import { useMemo, useRef, useState } from "preact/hooks";
import {
  type Alarm,
  alarmApi,
  type AlarmChart,
  type AlarmState,
  type Backtest,
  type Changes,
  type Episode,
} from "../alarm-api";
import { alarmWindow, isInclusive, toModel } from "../alarm-chart";
import { type Field, fieldsOf, type Form, formOf, testedBounds, readChanges } from "../alarm-form";
import { ApiError } from "../api";
import { Chart } from "../chart/chart";
import { chartColors } from "../color";
import { Select } from "../components/controls";
import { GroupName, groupLabel } from "../components/group-name";
import { type Column, SortableTable } from "../components/sortable";
import { StateStrip } from "../components/state-strip";
import { useWrite } from "../components/write";
import { formatDateTime, formatElapsed, formatNumber } from "../format";
import { feed } from "../live-query";
import { dark, zone } from "../preferences";
import { truncate, visible } from "../text";
import { DAY, floorTo, HOUR, parseDuration, type Span } from "../time";
import { Rule } from "./alarm-configuration";

const RANGES: [string, string][] = [
  ["1h", "last hour"],
  ["6h", "last 6 hours"],
  ["1d", "last 24 hours"],
  ["7d", "last 7 days"],
  ["30d", "last 30 days"],
  ["90d", "last 90 days"],
];
const POINTS_MAX = 11_000; // that a chart's answer may hold

interface Outcome {
  test: Backtest;
  changes: Changes;
  key: string | null;
  /** null: too many windows to draw, or several groups. */
  chart: AlarmChart | null;
}

interface BacktestingProps {
  alarm: Alarm;
  /** The state whose chart is shown. */
  shown: AlarmState | undefined;
}

export function Backtesting({ alarm, shown }: BacktestingProps) {
  return (
    <section class="card backtest" aria-label="Backtest">
      <header class="card-head">
        <h2>What would have happened</h2>
        <p class="card-note">Runs this alarm, or one with other values, over stored history. It changes nothing.</p>
      </header>
      {alarm.kind === "composite" ? (
        <p class="nothing">
          A rule has no datapoints of its own. Test the alarms that it names: <Rule rule={alarm.when ?? ""} />
        </p>
      ) : (
        <BacktestForm alarm={alarm} shown={shown} />
      )}
    </section>
  );
}

function BacktestForm({ alarm, shown }: BacktestingProps) {
  const windowMs = alarmWindow(alarm);
  const [range, setRange] = useState(windowMs >= HOUR ? "30d" : "7d");
  const [scope, setScope] = useState<"shown" | "all">(shown ? "shown" : "all");
  const [form, setForm] = useState<Form>(() => formOf(alarm));
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const write = useWrite();
  const latest = useRef(0);

  const run = async (event: Event) => {
    event.preventDefault();
    const to = feed.now();
    const span = { from: to - (parseDuration(range) ?? DAY), to };
    const changes = readChanges(alarm, form);
    const key = alarm.each && (scope === "all" || !shown) ? null : (shown?.key ?? "");
    const number = (latest.current += 1);
    setOutcome(null);
    await write.run(async (token) => {
      const test = await alarmApi.test(alarm.name, { ...span, key, changes }, token);
      const drawable = key !== null && (span.to - span.from) / windowMs < POINTS_MAX;
      const chart = drawable ? await chartOf(alarm, key, test) : null;
      if (latest.current === number) setOutcome({ test, changes, key, chart });
    });
  };
  const set = (name: string, value: string) => setForm({ ...form, [name]: value });
  return (
    <>
      <form class="backtest-form" onSubmit={(event) => void run(event)}>
        <Select label="Over" value={range} onChange={setRange} choices={RANGES} />
        {alarm.each && (
          <Select
            label="Groups"
            value={scope}
            onChange={setScope}
            choices={[
              ...(shown
                ? [
                    [
                      "shown",
                      truncate(groupLabel({ group: shown.group ?? {}, fields: Object.keys(shown.group ?? {}) }), 40),
                    ] as const,
                  ]
                : []),
              ["all", "all"] as const,
            ]}
          />
        )}
        {fieldsOf(alarm).map((field) => (
          <FormField
            key={field.name}
            field={field}
            value={form[field.name] ?? ""}
            onChange={(value) => set(field.name, value)}
          />
        ))}
        {write.token}
        <div class="backtest-run">
          <button type="submit" class="primary" disabled={write.busy}>
            {write.busy ? "Testing…" : "Test"}
          </button>
          {Object.keys(readChanges(alarm, form)).length > 0 && (
            <button type="button" onClick={() => setForm(formOf(alarm))}>
              As defined
            </button>
          )}
        </div>
      </form>
      {write.problem}
      <div role="status">{outcome && <Result alarm={alarm} outcome={outcome} />}</div>
    </>
  );
}

/** Ask for the chart of what was tested; null where that cannot be drawn, which takes nothing from the result. */
async function chartOf(alarm: Alarm, key: string, { from, to }: Span): Promise<AlarmChart | null> {
  const windowMs = alarmWindow(alarm);
  try {
    return await alarmApi.chart(alarm.name, key, { from: floorTo(from, windowMs), to });
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

interface FormFieldProps {
  field: Field;
  value: string;
  onChange: (value: string) => void;
}

function FormField({ field, value, onChange }: FormFieldProps) {
  if (field.choices)
    return <Select label={field.name} value={value} onChange={onChange} choices={field.choices.map((text) => [text, text])} />;
  const id = `test-${field.name}`;
  const shared = {
    id,
    value,
    required: field.required,
    placeholder: field.required ? "" : "none",
    onInput: (event: { currentTarget: HTMLInputElement }) => onChange(event.currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id}>{field.name}</label>
      {field.kind === "duration" && <input type="text" {...shared} />}
      {field.kind === "number" && <input type="number" step="any" {...shared} />}
      {field.kind === "whole" && <input type="number" min={1} {...shared} />}
    </div>
  );
}

function Result({ alarm, outcome }: { alarm: Alarm; outcome: Outcome }) {
  const { test, changes } = outcome;
  const changed = Object.entries(changes).map(([name, value]) => `${name} ${value ?? "none"}`);
  return (
    <div class="backtest-result">
      <p class="sr-only">It would have fired {formatNumber(test.fired)} times.</p>
      <dl class="headline">
        <Figure name="would have fired" value={`${formatNumber(test.fired)}×`} />
        <Figure name="a day" value={formatNumber(test.per_day)} />
        <Figure name="in alarm" value={durationText(test.alarm_ms)} />
        <Figure name="longest" value={durationText(test.longest_ms)} />
        <Figure name="flaps" value={formatNumber(test.flaps)} />
        <Figure name="flaps a day" value={formatNumber(Number(((test.flaps * DAY) / (test.to - test.from)).toPrecision(2)))} />
      </dl>
      <p class="hint">
        {formatDateTime(test.from, zone.value)} – {formatDateTime(test.to, zone.value)}, {formatNumber(test.windows)} windows
        {alarm.each && `, ${formatNumber(test.groups)} ${test.groups === 1 ? "group" : "groups"}`};{" "}
        {changed.length > 0 ? `with ${changed.join(", ")}` : "as it is defined"}. A flap is going back into alarm soon after
        leaving it.
      </p>
      <Episodes alarm={alarm} outcome={outcome} />
    </div>
  );
}

function durationText(ms: number): string {
  return ms === 0 ? "–" : formatElapsed(ms);
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class="figure small">{value}</dd>
    </div>
  );
}

function Episodes({ alarm, outcome }: { alarm: Alarm; outcome: Outcome }) {
  const { test, chart } = outcome;
  const spans = useMemo(() => test.episodes.map(({ from, to }) => ({ from, to: to ?? test.to })), [test]);
  return (
    <>
      {chart ? (
        <EpisodeChart alarm={alarm} outcome={outcome} chart={chart} spans={spans} />
      ) : (
        <StateStrip name={alarm.name} span={test} spans={spans} />
      )}
      {test.episodes.length === 0 ? (
        <p class="nothing">It would not have fired.</p>
      ) : (
        <EpisodeTable alarm={alarm} test={test} />
      )}
    </>
  );
}

interface EpisodeChartProps {
  alarm: Alarm;
  outcome: Outcome;
  chart: AlarmChart;
  spans: Span[];
}

function EpisodeChart({ alarm, outcome, chart, spans }: EpisodeChartProps) {
  const color = chartColors(dark.value).groups[0]!;
  const model = useMemo(() => {
    const bounds = testedBounds(alarm, outcome.changes, chart);
    const inclusive = isInclusive(String(outcome.changes.comparison ?? alarm.comparison));
    const watch = { label: "tested", ...bounds, inclusive, spans, transitions: [], whole: true };
    return toModel(
      alarm,
      chart,
      watch,
      alarm.measure ?? alarm.system ?? "",
      color,
      floorTo(outcome.test.to, alarmWindow(alarm)),
    );
  }, [outcome, color]);
  return (
    <div class="alarm-chart">
      <Chart model={model} title={`Backtest of ${alarm.name}`} />
    </div>
  );
}

function EpisodeTable({ alarm, test }: { alarm: Alarm; test: Backtest }) {
  const length = ({ from, to }: Episode) => (to ?? test.to) - from;
  const columns: Column<Episode>[] = [
    {
      key: "from",
      title: "in alarm from",
      order: ({ from }) => from,
      render: ({ from }) => formatDateTime(from, zone.value, true),
    },
    {
      key: "to",
      title: "to",
      order: ({ to }) => to,
      render: ({ to }) => (to === null ? <span class="filling">still at the end</span> : formatDateTime(to, zone.value, true)),
    },
    { key: "length", title: "for", numeric: true, order: length, render: (episode) => formatElapsed(length(episode)) },
  ];
  if (alarm.each) {
    columns.push({
      key: "group",
      title: "group",
      order: ({ key }) => key,
      render: ({ group }) => group && <GroupName group={group} fields={Object.keys(group)} />,
    });
  }
  columns.push({ key: "reason", title: "why", render: ({ reason }) => truncate(visible(reason), 300) });
  return (
    <>
      <SortableTable
        caption="Episodes"
        columns={columns}
        rows={test.episodes}
        rowKey={({ key, from }) => `${from} ${key}`}
        rowsShown={10}
      />
      {test.episodes_left_out > 0 && <p class="nothing">{formatNumber(test.episodes_left_out)} older ones are left out.</p>}
    </>
  );
}
