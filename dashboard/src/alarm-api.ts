/** The client of the alarm endpoints: docs/http-api.md says what each answer means. */

import { type Group, type Point, post, read, remove } from "./api";
import type { Span } from "./time";

export type State = "OK" | "ALARM" | "INSUFFICIENT_DATA";

export interface Acknowledgement {
  at: number;
  by: string;
  note: string;
}

export interface AlarmState {
  group: Group | null;
  key: string;
  state: State;
  since: number;
  acknowledged: Acknowledgement | null;
}

export interface Muted {
  until: number;
  note: string;
  by: string;
  schedule: string | null;
  id: number | null;
}

export interface Alarm {
  name: string;
  description: string;
  kind: "counter" | "system" | "composite";
  counter: string | null;
  system: string | null;
  window: string | null;
  measure: string | null;
  group: Group | null;
  each: boolean;
  groups: number;
  groups_left_out: number;
  condition: string;
  comparison: string | null;
  threshold: number | null;
  clear_threshold: number | null;
  threshold_percent: number | null;
  clear_threshold_percent: number | null;
  baseline: string | null;
  band: number | null;
  clear_band: number | null;
  weeks: number | null;
  evaluation_periods: number | null;
  datapoints_to_alarm: number | null;
  treat_missing_data: string | null;
  wait: string | null;
  delay: string | null;
  when: string | null;
  notify: { alarm: string[]; ok: string[]; insufficient_data: string[] };
  state: State;
  since: number | null;
  muted: Muted | null;
  states: AlarmState[];
  states_truncated: boolean;
}

/** A value that holds from a time on until the next; null: none. The last one ends the line. */
export type Step = [from: number, value: number | null];

export interface Transition {
  at: number;
  old_state: State;
  new_state: State;
}

export interface AlarmChart extends Span {
  alarm: string;
  key: string;
  window: string | null;
  points: Point[];
  lower: Step[];
  upper: Step[];
  expected: Step[];
  transitions: Transition[];
}

export interface Datapoint {
  at: number;
  value: number | null;
  breaching: boolean;
  filled: boolean;
  lower: number | null;
  upper: number | null;
}

export interface HistoryItem {
  id: number;
  alarm: string;
  group: Group | null;
  key: string;
  at: number;
  kind: "ConfigurationUpdate" | "StateUpdate" | "Action" | "Acknowledgement" | "Mute";
  summary: string;
  old_state: State | null;
  new_state: State | null;
  reason: string | null;
  datapoints: Datapoint[];
}

export interface HistoryPage {
  next: number | null;
  items: HistoryItem[];
}

export interface Episode {
  from: number;
  to: number | null;
  reason: string;
  group: Group | null;
  key: string;
}

export interface Backtest extends Span {
  windows: number;
  groups: number;
  fired: number;
  alarm_ms: number;
  longest_ms: number;
  flaps: number;
  per_day: number;
  episodes: Episode[];
  episodes_left_out: number;
}

export interface Mute {
  id: number;
  alarms: string[];
  from: number;
  until: number;
  by: string;
  note: string;
}

/** No alarms are all. */
export type MuteRequest = { alarms: string[]; by: string; note: string } & ({ for: string } | { until: number });

export interface MuteSchedule {
  name: string;
  alarms: string[];
  note: string;
  active: boolean;
  text: string;
}

export interface Mutes {
  mutes: Mute[];
  schedules: MuteSchedule[];
}

export interface Notifications {
  channels: { name: string; type: string; waiting: number }[];
  undelivered: { id: string; channel: string; created: number; attempts: number; error: string; given_up: boolean }[];
}

/** Keys of [[alarm]] with other values; null leaves one out. */
export type Changes = Record<string, number | string | null>;

const PATH = "/v1/alarms";

function pathOf(name: string): string {
  return `${PATH}/${encodeURIComponent(name)}`;
}

export const alarmApi = {
  list: () => read<{ in_alarm: number; alarms: Alarm[] }>(PATH),

  chart: (name: string, key: string, { from, to }: Span, abort?: AbortSignal) =>
    read<AlarmChart>(`${pathOf(name)}/chart?${new URLSearchParams({ key, from: String(from), to: String(to) })}`, abort),

  history: (alarm: string | null, before: number | null, limit: number) => {
    const params = new URLSearchParams({ limit: String(limit) });
    if (alarm !== null) params.set("alarm", alarm);
    if (before !== null) params.set("before", String(before));
    return read<HistoryPage>(`${PATH}/history?${params}`);
  },

  mutes: () => read<Mutes>(`${PATH}/mutes`),

  notifications: () => read<Notifications>("/v1/notifications"),

  // What follows needs the write token where one is set.

  test: async (name: string, body: Span & { key: string | null; changes: Changes }, token?: string): Promise<Backtest> =>
    (await (await post(`${pathOf(name)}/test`, body, token)).json()) as Backtest,

  acknowledge: async (name: string, body: { key: string; by: string; note: string }, token?: string): Promise<void> => {
    await post(`${pathOf(name)}/acknowledge`, body, token);
  },

  mute: async (body: MuteRequest, token?: string): Promise<void> => {
    await post(`${PATH}/mutes`, body, token);
  },

  unmute: async (id: number, token?: string): Promise<void> => {
    await remove(`${PATH}/mutes/${id}`, token);
  },
};
