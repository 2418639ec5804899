/** The alarms on a chart of Overview or Explore: which they are, and what is drawn of them. */

import { useMemo } from "preact/hooks";
import { alarmApi, type AlarmChart } from "./alarm-api";
import { alarmWindow, toWatch } from "./alarm-chart";
import { alarms } from "./alarms";
import type { CounterInfo, QueryRequest, QueryResult } from "./api";
import type { ChartKind } from "./chart/model";
import { type Watch, type Watched, watchedBy } from "./chart/watch";
import { useAnswer } from "./components/answer";
import { useCalm } from "./components/calm";
import { groupLabel } from "./components/group-name";
import { feed } from "./live-query";

const DRAWN_MAX = 4;
const WINDOWS_MAX = 5_000;
const REFRESH_MS = 1_000;

interface Watches {
  /** Those that watch what is shown, for the legend. */
  watched: Watched[];
  /** What is drawn of the first of them. */
  drawn: Watch[];
}

const NONE: Watches = { watched: [], drawn: [] };

/** Name an alarm, with its group where it has several. */
export function watchLabel({ alarm, status }: Pick<Watched, "alarm" | "status">): string {
  if (!alarm.each || !status.group) return alarm.name;
  return `${alarm.name}, ${groupLabel({ group: status.group, fields: Object.keys(status.group) })}`;
}

/** Return the alarms that watch what a result shows. */
export function useWatches(result: QueryResult | null, query: QueryRequest, counter: CounterInfo, kind: ChartKind): Watches {
  const list = alarms.value;
  const watched = useMemo(
    () => (result && list ? watchedBy(list, { counter, query, series: result.series, kind }) : []),
    [result, list, counter, kind, JSON.stringify(query)],
  );
  const fitting = watched.filter(({ alarm }) => query.to - query.from <= WINDOWS_MAX * alarmWindow(alarm)).slice(0, DRAWN_MAX);
  const version = useCalm(feed.alarmsVersion.value, REFRESH_MS);
  const what = JSON.stringify([query.to - query.from, fitting.map(({ alarm, status }) => [alarm.name, status.key])]);
  const { answer } = useAnswer(fitting.length > 0 ? what : null, [version, feed.connections.value, query.from], (abort) =>
    chartsOf(fitting, query, abort),
  );
  return useMemo(() => {
    if (watched.length === 0) return NONE;
    const drawn = fitting.flatMap((one, index) => {
      const chart = answer?.[index];
      return chart ? [toDrawn(one, chart)] : [];
    });
    return { watched, drawn };
  }, [watched, answer]);
}

/** Ask for the charts; one that is refused, since its group has gone say, is left out. */
function chartsOf(fitting: readonly Watched[], { from, to }: QueryRequest, abort: AbortSignal): Promise<(AlarmChart | null)[]> {
  return Promise.all(
    fitting.map(({ alarm, status }) => alarmApi.chart(alarm.name, status.key, { from, to }, abort).catch(() => null)),
  );
}

function toDrawn(watched: Watched, chart: AlarmChart): Watch {
  const all = toWatch(watched.alarm, chart, watched.status, feed.now());
  // Several alarms share the chart: what is not about ALARM is on their own pages.
  const transitions = all.transitions.filter(({ old_state, new_state }) => old_state === "ALARM" || new_state === "ALARM");
  const watch = { ...all, transitions, label: watchLabel(watched), whole: false };
  return watched.measured ? watch : { ...watch, lower: [], upper: [], expected: [] };
}
