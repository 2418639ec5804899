/** An alarm's chart, kept up to date, and the model of it. */

import { useEffect, useState } from "preact/hooks";
import { type Alarm, alarmApi, type AlarmChart, type AlarmState, type Step } from "./alarm-api";
import type { ChartModel } from "./chart/model";
import { alarmSpans, type Watch } from "./chart/watch";
import { type Answer, useAnswer } from "./components/answer";
import { useCalm } from "./components/calm";
import { feed } from "./live-query";
import { align, isAdditive } from "./series";
import { MINUTE, parseDuration, type Span, windowStarts } from "./time";

/** Return the length of an alarm's datapoints; of a composite alarm, which has none, what its times are rounded to. */
export function alarmWindow({ window }: Pick<Alarm, "window">): number {
  return parseDuration(window ?? "") ?? MINUTE;
}

/** Count the changes of what an alarm watches, at most one every `pauseMs`. */
function useChanges({ counter, window }: Pick<Alarm, "counter" | "window">, pauseMs: number): number {
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    if (counter === null) return;
    return feed.subscribe((changed) => {
      const touched = changed.some((change) => change.counter === counter && change.window === window);
      if (touched) setChanges((count) => count + 1);
    });
  }, [counter, window]);
  return useCalm(changes, pauseMs);
}

/** Show an alarm's chart; asks nothing while there is no key. */
export function useAlarmChart(alarm: Alarm, key: string | null, span: Span, pauseMs: number): Answer<AlarmChart> {
  const changes = useChanges(alarm, pauseMs);
  const version = useCalm(feed.alarmsVersion.value, pauseMs);
  const what = key === null ? null : JSON.stringify([alarm.name, key, span.to - span.from]);
  return useAnswer(what, [changes, version, feed.connections.value, span.from], (abort) =>
    alarmApi.chart(alarm.name, key ?? "", span, abort),
  );
}

/** Return an alarm's bounds as a chart draws them: no count is below zero, so a bound there would only make room for itself. */
export function drawnBounds(alarm: Alarm, { lower, upper, expected }: AlarmChart): Pick<Watch, "lower" | "upper" | "expected"> {
  return { lower: alarm.measure === "count" ? lower.map(atLeastZero) : lower, upper, expected };
}

/** Return what a chart draws of an alarm beside its datapoints. */
export function toWatch(
  alarm: Alarm,
  chart: AlarmChart,
  status: AlarmState | undefined,
  now: number,
): Omit<Watch, "label" | "whole"> {
  const { transitions } = chart;
  const spans = alarmSpans(transitions, status, chart, now);
  return { ...drawnBounds(alarm, chart), transitions, spans, inclusive: isInclusive(alarm.comparison) };
}

function atLeastZero([from, value]: Step): Step {
  return [from, value !== null && value < 0 ? null : value];
}

export function isInclusive(comparison: string | null): boolean {
  return comparison?.endsWith("=") ?? false;
}

/** Return the model of an alarm's chart: its datapoints, with gaps where there are none. */
export function toModel(
  alarm: Alarm,
  chart: AlarmChart,
  watch: Watch,
  label: string,
  color: string,
  completeUntil: number,
): ChartModel {
  const windowMs = alarmWindow(alarm);
  const starts = windowStarts(chart, windowMs);
  const additive = alarm.measure !== null && isAdditive(alarm.measure);
  return {
    kind: additive ? "bars" : "line",
    show: "value",
    from: chart.from,
    to: chart.to,
    windowMs,
    starts,
    completeUntil,
    fromZero: additive || alarm.kind === "system",
    series: [{ key: "", label, color, values: align(chart.points, starts, null) }],
    watches: [watch],
  };
}
