/** Explore: any question to a counter, with its chart, its numbers, and an address to share. */

import { useRef } from "preact/hooks";
import { type Definition, queryUrl, type QueryRequest } from "../api";
import { Chart } from "../chart/chart";
import { useChart } from "../chart/from-result";
import { composeImage, downloadImage } from "../chart/image";
import { chartColors } from "../color";
import { useMedia } from "../components/media";
import { Segmented } from "../components/controls";
import { GroupName } from "../components/group-name";
import { rangeName } from "../components/range-picker";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { WatchList } from "../components/watch-list";
import { CHART_KINDS, type ExploreState, readState, SHOWS, toQuery, windowOf, writeState } from "../explore-state";
import { formatNumber, formatWindow, zoneName } from "../format";
import { feed, useQuery, useWindowEnd } from "../live-query";
import { navigate, place } from "../location";
import { dark, zone } from "../preferences";
import { groupKey } from "../series";
import { visible } from "../text";
import { formatDuration } from "../time";
import { useWatches } from "../watches";
import { ExploreControls } from "./explore-controls";
import { GroupTable, WindowTable } from "./explore-tables";

/** Say in one line what is shown: for the heading, the chart's name and the image. */
function questionText(state: ExploreState, query: QueryRequest): string {
  const parts = [`${visible(state.measure)} of ${state.counter.name} per ${formatDuration(query.windowMs)}`];
  if (state.overMs !== null) parts.push(`over the last ${formatDuration(state.overMs)}`);
  if (state.show !== "value") parts.push(SHOWS[state.show].toLowerCase());
  if (state.by.length > 0) parts.push(`by ${state.by.map(visible).join(", ")}`);
  return parts.join(", ");
}

export function Explore({ definition }: { definition: Definition }) {
  const state = readState(place.value.params, definition);
  const change = (changes: Partial<ExploreState>) => navigate("/explore", writeState({ ...state, ...changes }));

  const windowMs = windowOf(state);
  const completeUntil = useWindowEnd(windowMs) - windowMs;
  const query = toQuery(state, completeUntil);
  const { result, error, reload } = useQuery(query, state.counter);
  const { watched, drawn } = useWatches(result, query, state.counter, state.chart);
  const chart = useChart(result, query, state.by, state.chart, completeUntil, true, drawn);
  const controls = <ExploreControls definition={definition} state={state} span={query} onChange={change} />;
  const wide = useMedia("(min-width: 64rem)");
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const title = questionText(state, query);
  const fileName = `${state.counter.name}-${formatDuration(windowMs)}`.replace(/[^\w.-]+/g, "_");

  const saveImage = () => {
    if (!canvas.current || !chart) return;
    const open = query.to > completeUntil ? ", the last window still filling" : "";
    const subtitle = `${visible(definition.name)} · ${formatWindow(query.from, query.to - query.from, zone.value)} ${zoneName(zone.value)}${open}`;
    const colors = chartColors(dark.value);
    const alarms = drawn.map(({ label }) => ({ label: `alarm ${label}`, color: colors.alarm }));
    const text = { title, subtitle, legend: [...chart.model.series, ...alarms] };
    downloadImage(composeImage(canvas.current, text, colors), `${fileName}.png`);
  };

  return (
    <>
      <div class="page-head">
        <h1>Explore</h1>
      </div>
      <div class="explore">
        {wide ? (
          controls
        ) : (
          <details class="question">
            <summary class="card">Change the question</summary>
            {controls}
          </details>
        )}
        <div class="explore-main">
          <section class="card" aria-label="Chart">
            <header class="card-head">
              <h2>{title}</h2>
              <p class="card-note">{rangeName(state.range)}</p>
              <Segmented
                label="Chart"
                hideLabel
                value={state.chart}
                onChange={(kind) => change({ chart: kind })}
                choices={Object.entries(CHART_KINDS) as [ExploreState["chart"], string][]}
              />
            </header>
            {error && <ErrorNote error={error} onRetry={reload} />}
            {!result && !error && <Skeleton lines={8} label="Loading the chart" />}
            {result && result.series.length === 0 && (
              <Empty title="Nothing in this range">
                <p>
                  {state.filters.length > 0 ? "No event matched these filters. " : ""}Events are counted by the time they say
                  they happened; a longer range may hold them.
                </p>
              </Empty>
            )}
            {result && chart && result.series.length > 0 && (
              <>
                <div class="explore-chart">
                  <Chart
                    model={chart.model}
                    title={title}
                    onCanvas={(element) => (canvas.current = element)}
                    onZoom={({ from, to }) => change({ range: { from: Math.floor(from), to: Math.ceil(to) } })}
                  />
                </div>
                <ul class="legend" aria-label="Legend">
                  {result.series.map((series) => (
                    <li key={groupKey(series)}>
                      <i class="swatch" style={{ background: chart.colorOf(groupKey(series)) }} />
                      <GroupName group={series.group} fields={state.by} other={series.other} />
                    </li>
                  ))}
                  {query.compare && (
                    <li class="legend-note">
                      <i class="swatch-dotted" />
                      the period before
                    </li>
                  )}
                  {query.to > completeUntil && (
                    <li class="legend-note">
                      <i class="swatch-open" />
                      still filling
                    </li>
                  )}
                </ul>
                <WatchList watched={watched} />
              </>
            )}
          </section>
          <section class="card" aria-label="Table">
            <header class="card-head">
              <h2>Numbers</h2>
              {result && (
                <p class="card-note">{groupCount(result.groups, result.series.filter((series) => !series.other).length)}</p>
              )}
              <Segmented
                label="Table"
                hideLabel
                value={state.table}
                onChange={(table) => change({ table })}
                choices={[
                  ["groups", "Groups"],
                  ["windows", "Windows"],
                ]}
              />
              <a class="button" href={queryUrl(query, "csv")} download={`${fileName}.csv`}>
                CSV
              </a>
              <button type="button" onClick={saveImage} disabled={!chart || result?.series.length === 0}>
                PNG
              </button>
            </header>
            {!result && !error && <Skeleton lines={6} label="Loading the table" />}
            {result && chart && state.table === "groups" && (
              <GroupTable
                result={result}
                query={query}
                fields={state.by}
                completeUntil={completeUntil}
                colorOf={chart.colorOf}
              />
            )}
            {result && chart && state.table === "windows" && (
              <WindowTable model={chart.model} result={result} fields={state.by} />
            )}
          </section>
        </div>
      </div>
      <p class="sr-only" role="status">
        {result ? `${title}: ${formatNumber(result.groups)} groups` : feed.status.value}
      </p>
    </>
  );
}

function groupCount(matched: number, shown: number): string {
  const groups = `${formatNumber(matched)} ${matched === 1 ? "group" : "groups"}`;
  return matched > shown ? `${formatNumber(shown)} of ${groups}` : groups;
}
