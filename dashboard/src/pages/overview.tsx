/** Overview: what is happening now, counter by counter. */

import { useMemo, useState } from "preact/hooks";
import { type CounterInfo, type Definition, type Filter, type QueryRequest, type QueryResult, type Series } from "../api";
import { Chart } from "../chart/chart";
import { useChart } from "../chart/from-result";
import { formatValue } from "../chart/model";
import { ChangeMark } from "../components/change";
import { Select } from "../components/controls";
import { GroupName } from "../components/group-name";
import { RangePicker } from "../components/range-picker";
import { Sparkline } from "../components/sparkline";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { WatchList } from "../components/watch-list";
import { type ExploreState, readState, storedWindows, writeState } from "../explore-state";
import { formatCompact, formatNumber, formatPercent } from "../format";
import { feed, useQuery, useWindowEnd } from "../live-query";
import { navigate, place } from "../location";
import { addPoints, align, compare, type Comparison, groupKey, isAdditive } from "../series";
import { visible } from "../text";
import { formatDuration, formatRange, parseRange, type Range, type Span, spanOf, windowFor, windowStarts } from "../time";
import { useWatches } from "../watches";
import { FirstRun } from "./first-run";

const TOP = 8;
const DEFAULT_RANGE: Range = { windows: 60 };

export function Overview({ definition }: { definition: Definition }) {
  const range = parseRange(place.value.params.get("range")) ?? DEFAULT_RANGE;
  if (feed.ledger.value?.received === 0) return <FirstRun definition={definition} />;

  const finest = Math.min(...definition.counters.map((counter) => windowFor(range, storedWindows(counter))));
  const choose = (chosen: Range) => {
    const params = new URLSearchParams();
    if (formatRange(chosen) !== formatRange(DEFAULT_RANGE)) params.set("range", formatRange(chosen));
    navigate("/", params);
  };
  return (
    <>
      <div class="page-head">
        <h1>Overview</h1>
        <RangePicker range={range} span={spanOf(range, finest, feed.now())} onChange={choose} />
      </div>
      <div class="counters">
        {definition.counters.map((counter) => (
          <CounterCard key={counter.name} definition={definition} counter={counter} range={range} />
        ))}
      </div>
    </>
  );
}

interface CardProps {
  definition: Definition;
  counter: CounterInfo;
  range: Range;
}

function CounterCard({ definition, counter, range }: CardProps) {
  const [measure, setMeasure] = useState(counter.measures[0]!);
  const windowMs = windowFor(range, storedWindows(counter));
  const end = useWindowEnd(windowMs);
  const completeUntil = end - windowMs;
  const query: QueryRequest = {
    ...spanOf(range, windowMs, completeUntil),
    counter: counter.name,
    windowMs,
    measure,
    filters: [],
    by: null,
    top: TOP,
    other: counter.group_by.length > 0,
    overMs: null,
    show: "value",
    compare: true,
  };
  const { result, error, reload } = useQuery(query, counter);
  // A mean of means is no mean: what cannot be added up is asked for over all groups.
  const whole = useQuery(isAdditive(measure) ? null : { ...query, by: [], top: null, other: false }, counter);
  const kind = isAdditive(measure) ? "bars" : "line";
  const { watched, drawn } = useWatches(result, query, counter, kind);
  const chart = useChart(result, query, counter.group_by, kind, completeUntil, false, drawn);
  const totals = isAdditive(measure) ? result : whole.result;
  const headline = totals && compare(totals.series, measure, windowMs, completeUntil);

  const question = (changes: Partial<ExploreState> = {}) => {
    const state = readState(new URLSearchParams({ counter: counter.name }), definition);
    return writeState({ ...state, range, measure, ...changes });
  };
  const zoom = ({ from, to }: Span) => navigate("/explore", question({ range: { from: Math.floor(from), to: Math.ceil(to) } }));
  const title = `${counter.name}: ${visible(measure)} per ${formatDuration(windowMs)}`;

  return (
    <section class="card counter" aria-label={counter.name}>
      <header class="card-head">
        <h2>
          <a href={`/explore?${question()}`}>
            <bdi>{counter.name}</bdi>
          </a>
        </h2>
        <p class="card-note">
          {counter.group_by.length > 0 && <>by {counter.group_by.map(visible).join(", ")} · </>}
          {formatDuration(windowMs)} windows
          {counter.where !== null && (
            <>
              {" "}
              · where <code>{visible(counter.where)}</code>
            </>
          )}
        </p>
        {counter.measures.length > 1 && (
          <Select
            label={`Measure of ${counter.name}`}
            hideLabel
            value={measure}
            onChange={setMeasure}
            choices={counter.measures.map((name) => [name, visible(name)])}
          />
        )}
      </header>
      {error && !result && <ErrorNote error={error} onRetry={reload} />}
      {!error && !(result && chart && headline) && <Skeleton lines={6} label={`Loading ${counter.name}`} />}
      {result && chart && headline && totals && (
        <div class="card-body">
          <Headline comparison={headline} totals={totals} query={query} completeUntil={completeUntil} />
          <div class="card-chart">
            {result.series.length > 0 ? (
              <>
                <Chart model={chart.model} title={title} onZoom={zoom} />
                <WatchList watched={watched} />
              </>
            ) : (
              <Empty title="Nothing in this range">
                <p>Events are counted by the time they say they happened. Older ones show in a longer range.</p>
              </Empty>
            )}
          </div>
          {counter.group_by.length > 0 && result.series.length > 0 && (
            <TopGroups
              result={result}
              query={query}
              counter={counter}
              completeUntil={completeUntil}
              total={headline.total}
              colorOf={chart.colorOf}
              explore={(filters) => `/explore?${question({ filters })}`}
            />
          )}
        </div>
      )}
    </section>
  );
}

interface HeadlineProps {
  comparison: Comparison;
  totals: QueryResult;
  query: QueryRequest;
  completeUntil: number;
}

/** The total of the range against the period before, with the shape of both. */
function Headline({ comparison, totals, query, completeUntil }: HeadlineProps) {
  const starts = windowStarts(totals, query.windowMs);
  const missing = isAdditive(query.measure) ? 0 : null;
  const values = align(addedUp(totals.series.map(({ points }) => points)), starts, missing);
  const previous = align(addedUp(totals.series.map((series) => series.previous ?? [])), starts, missing);
  const complete = starts.filter((start) => start + query.windowMs <= completeUntil).length;
  const latest = values[complete - 1];
  return (
    <dl class="headline">
      <div>
        <dt>{visible(query.measure)}</dt>
        <dd class="figure" title={formatNumber(comparison.total)}>
          {formatNumber(comparison.total)}
        </dd>
        <dd>
          <ChangeMark change={comparison.change} previous={formatNumber(comparison.previous)} />
        </dd>
      </div>
      <div>
        <dt>last full {formatDuration(query.windowMs)}</dt>
        <dd class="figure small">{formatValue(latest, "value")}</dd>
      </div>
      <div class="headline-spark">
        <dt class="sr-only">Shape of the period, over the period before</dt>
        <dd>
          <Sparkline values={values} previous={previous} complete={complete} />
        </dd>
      </div>
    </dl>
  );
}

function addedUp(lists: Series["points"][]): Series["points"] {
  return lists.length === 1 ? lists[0]! : addPoints(lists);
}

interface TopGroupsProps {
  result: QueryResult;
  query: QueryRequest;
  counter: CounterInfo;
  completeUntil: number;
  total: number | null;
  colorOf: (key: string) => string;
  explore: (filters: Filter[]) => string;
}

function TopGroups({ result, query, counter, completeUntil, total, colorOf, explore }: TopGroupsProps) {
  const additive = isAdditive(query.measure);
  const largest = useMemo(() => Math.max(0, ...result.series.map((series) => Math.abs(series.total ?? 0))), [result]);
  return (
    <div class="top-groups">
      <table>
        <caption class="sr-only">Largest groups of {counter.name}</caption>
        <thead>
          <tr>
            <th scope="col">{counter.group_by.map(visible).join(" · ")}</th>
            <th scope="col" class="number">
              {visible(query.measure)}
            </th>
            {additive && (
              <th scope="col" class="number">
                share
              </th>
            )}
            <th scope="col" class="number">
              change
            </th>
          </tr>
        </thead>
        <tbody>
          {result.series.map((series) => {
            const { total: value, previous, change } = compare([series], query.measure, query.windowMs, completeUntil);
            const name = <GroupName group={series.group} fields={counter.group_by} other={series.other} />;
            const filters = counter.group_by.map((field) => ({ field, value: series.group[field] ?? null }));
            return (
              <tr key={groupKey(series)}>
                <th scope="row">
                  <i class="swatch" style={{ background: colorOf(groupKey(series)) }} />
                  {series.other ? name : <a href={explore(filters)}>{name}</a>}
                  <i
                    class="share-bar"
                    style={{
                      width: `${largest > 0 ? (100 * Math.abs(value ?? 0)) / largest : 0}%`,
                      background: colorOf(groupKey(series)),
                    }}
                  />
                </th>
                <td class="number" title={formatNumber(value)}>
                  {formatCompact(value)}
                </td>
                {additive && <td class="number">{formatPercent(total ? (value ?? 0) / total : null)}</td>}
                <td class="number">
                  <ChangeMark change={change} previous={formatNumber(previous)} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {result.groups > TOP && (
        <p class="hint">
          {TOP} of {formatNumber(result.groups)} groups; the rest is “other”.
        </p>
      )}
    </div>
  );
}
