/** The alarms as the pages show them: their list, kept up to date, and what is told of it. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Alarm, alarmApi, type State } from "./alarm-api";
import { ApiError } from "./api";
import { useCalm } from "./components/calm";
import { feed } from "./live-query";

const REFRESH_MS = 500;

/** Every alarm of the definition, in its order; null until the server has said. */
export const alarms = signal<Alarm[] | null>(null);
export const alarmsError = signal<ApiError | null>(null);
/** The last change of states in words, for those who do not see the page. */
export const alarmNews = signal("");

const attempts = signal(0);

export function reloadAlarms(): void {
  attempts.value += 1;
}

/** Keep `alarms` up to date: asked for on every connection and every change. For one component, which is always there. */
export function useAlarms(enabled: boolean): void {
  const version = useCalm(feed.alarmsVersion.value, REFRESH_MS);
  const connection = feed.connections.value;
  const attempt = attempts.value;
  useEffect(() => {
    if (!enabled) return;
    let current = true;
    alarmApi.list().then(
      (answer) => {
        if (!current) return;
        const news = announcement(alarms.peek(), answer.alarms);
        if (news) alarmNews.value = news;
        alarms.value = answer.alarms;
        alarmsError.value = null;
      },
      (problem) => {
        if (current && problem instanceof ApiError) alarmsError.value = problem;
      },
    );
    return () => {
      current = false;
    };
  }, [enabled, version, connection, attempt]);
}

export const STATE_NAMES: Record<State, string> = {
  ALARM: "In alarm",
  OK: "OK",
  INSUFFICIENT_DATA: "Insufficient data",
};

const NAMED_MAX = 3;

/** Say which alarms changed their state; "" when none did. */
export function announcement(before: readonly Alarm[] | null, after: readonly Alarm[]): string {
  const known = new Map(before?.map(({ name, state }) => [name, state]));
  const changed = after.filter(({ name, state }) => known.has(name) && known.get(name) !== state);
  const said = changed.slice(0, NAMED_MAX).map(({ name, state }) => `${name}: ${STATE_NAMES[state]}.`);
  if (changed.length > NAMED_MAX) said.push(`${changed.length - NAMED_MAX} more alarms changed.`);
  return said.join(" ");
}

const URGENCY: Record<State, number> = { ALARM: 0, INSUFFICIENT_DATA: 1, OK: 2 };

/** True when somebody takes care of everything in ALARM. */
export function isAcknowledged({ state, states }: Alarm): boolean {
  return state === "ALARM" && states.every((one) => one.state !== "ALARM" || one.acknowledged !== null);
}

/** Sort alarms: those in ALARM first, of these first the ones that nobody has seen to, the newest first. */
export function sortAlarms(list: readonly Alarm[]): Alarm[] {
  const seenTo = (alarm: Alarm) => Number(alarm.muted !== null || isAcknowledged(alarm));
  return [...list].sort(
    (one, other) =>
      URGENCY[one.state] - URGENCY[other.state] ||
      (one.state === "ALARM" ? seenTo(one) - seenTo(other) || (other.since ?? 0) - (one.since ?? 0) : 0),
  );
}

/** True when every word of a text is somewhere in an alarm's name, description, condition, or what it watches. */
export function matches(alarm: Alarm, text: string): boolean {
  const { name, description, condition, counter, system, group, states } = alarm;
  const groups = [group, ...states.map((one) => one.group)].flatMap((one) => (one ? Object.values(one) : []));
  const told = [name, description, condition, counter ?? "", system ?? "", ...groups.map(String)].join("\n").toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => told.includes(word));
}

/** Return the address of an alarm's page, or of one of its groups on it. */
export function alarmHref(name: string, key = ""): string {
  return `/alarms?${new URLSearchParams({ name, ...(key && { key }) })}`;
}
