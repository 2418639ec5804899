/** The small form in which an alarm is tried with other values: its fields, and what was changed. Pure functions. */

import type { Alarm, AlarmChart, Changes, Step } from "./alarm-api";
import { drawnBounds } from "./alarm-chart";
import type { Watch } from "./chart/watch";

/** A key of [[alarm]] that can be changed for a test. */
export interface Field {
  name: string;
  kind: "number" | "whole" | "duration" | "text";
  required: boolean;
  choices?: string[];
}

export type Form = Record<string, string>;

const SHARED: Field[] = [
  { name: "evaluation_periods", kind: "whole", required: true },
  { name: "datapoints_to_alarm", kind: "whole", required: true },
  { name: "treat_missing_data", kind: "text", required: true, choices: ["missing", "ignore", "breaching", "notBreaching"] },
  { name: "wait", kind: "text", required: true, choices: ["early", "complete"] },
  { name: "delay", kind: "duration", required: false },
];

function number(name: string, required: boolean): Field {
  return { name, kind: "number", required };
}

/** Return the fields that an alarm of this kind has. */
export function fieldsOf(alarm: Alarm): Field[] {
  const comparison = (...choices: string[]): Field => ({ name: "comparison", kind: "text", required: true, choices });
  if (alarm.band !== null) {
    const band = [number("band", true), number("clear_band", false), { name: "weeks", kind: "whole", required: true } as const];
    return [comparison("<", ">", "outside"), ...band, ...SHARED];
  }
  const bound = alarm.threshold_percent === null ? "threshold" : "threshold_percent";
  return [comparison("<", "<=", ">", ">="), number(bound, true), number(`clear_${bound}`, false), ...SHARED];
}

function valueOf(alarm: Alarm, name: string): string {
  return String((alarm as unknown as Record<string, unknown>)[name] ?? "");
}

/** Return the values of an alarm as the form begins with them. */
export function formOf(alarm: Alarm): Form {
  return Object.fromEntries(fieldsOf(alarm).map(({ name }) => [name, valueOf(alarm, name)]));
}

/** Return what a form changes; an emptied field takes its key away. */
export function readChanges(alarm: Alarm, form: Form): Changes {
  const changes: Changes = {};
  for (const { name, kind } of fieldsOf(alarm)) {
    const text = (form[name] ?? "").trim();
    if (text === valueOf(alarm, name)) continue;
    changes[name] = text === "" ? null : kind === "number" || kind === "whole" ? Number(text) : text;
  }
  return changes;
}

type Bounds = Pick<Watch, "lower" | "upper" | "expected">;

/**
 * Return the bounds to draw with a test: those of the alarm, or of the fixed threshold that it was tested with.
 *
 * Bounds that follow the past are drawn as they are defined only; changed ones are the server's to know.
 */
export function testedBounds(alarm: Alarm, changes: Changes, chart: AlarmChart): Bounds {
  const condition = ["comparison", "threshold", "threshold_percent", "baseline", "band", "weeks"];
  if (!condition.some((name) => name in changes)) return drawnBounds(alarm, chart);
  if (alarm.threshold === null) return { lower: [], upper: [], expected: [] };
  const threshold = Number(changes.threshold ?? alarm.threshold);
  const line: Step[] = [
    [chart.from, threshold],
    [chart.to, threshold],
  ];
  const below = String(changes.comparison ?? alarm.comparison).startsWith("<");
  return { lower: below ? line : [], upper: below ? [] : line, expected: [] };
}
