import { describe, expect, it } from "vitest";
import type { Alarm, AlarmState, State } from "../src/alarm-api";
import { alarmHref, announcement, isAcknowledged, matches, sortAlarms } from "../src/alarms";
import { anAlarm } from "./an-alarm";

function standing(name: string, state: State, changes: Partial<Alarm> = {}): Alarm {
  return anAlarm({ name, state, ...changes });
}

const inAlarm: AlarmState = { group: null, key: "", state: "ALARM", since: 0, acknowledged: null };
const seenTo: AlarmState = { ...inAlarm, acknowledged: { at: 1, by: "Ann", note: "" } };

describe("sortAlarms", () => {
  it("puts ALARM first, and of these first what nobody has seen to, the newest first", () => {
    const muted = { until: 9, note: "", by: "", schedule: null, id: 1 };
    const list = [
      standing("fine", "OK", { since: 90 }),
      standing("unknown", "INSUFFICIENT_DATA"),
      standing("muted", "ALARM", { since: 80, muted }),
      standing("acknowledged", "ALARM", { since: 70, states: [seenTo] }),
      standing("old", "ALARM", { since: 10, states: [inAlarm] }),
      standing("new", "ALARM", { since: 20, states: [inAlarm] }),
      standing("fine too", "OK", { since: 99 }),
    ];
    const sorted = sortAlarms(list).map(({ name }) => name);
    expect(sorted).toEqual(["new", "old", "muted", "acknowledged", "unknown", "fine", "fine too"]);
  });
});

describe("isAcknowledged", () => {
  it("takes every group in ALARM, and an ALARM", () => {
    expect(isAcknowledged(standing("a", "ALARM", { states: [seenTo, { ...inAlarm, state: "OK" }] }))).toBe(true);
    expect(isAcknowledged(standing("a", "ALARM", { states: [seenTo, inAlarm] }))).toBe(false);
    expect(isAcknowledged(standing("a", "OK"))).toBe(false);
  });
});

describe("announcement", () => {
  const before = ["a", "b", "c", "d", "e"].map((name) => standing(name, "OK"));

  it("says what changed, and is silent where nothing did or nothing was known", () => {
    expect(announcement(before, [standing("a", "OK"), standing("b", "ALARM"), standing("new", "ALARM")])).toBe("b: In alarm.");
    expect(announcement(before, before)).toBe("");
    expect(announcement(null, [standing("a", "ALARM")])).toBe("");
  });

  it("does not read out a list", () => {
    const after = before.map(({ name }) => standing(name, "INSUFFICIENT_DATA"));
    const three = ["a", "b", "c"].map((name) => `${name}: Insufficient data.`);
    expect(announcement(before, after)).toBe(`${three.join(" ")} 2 more alarms changed.`);
  });
});

describe("matches", () => {
  const alarm = standing("page-views-low", "OK", {
    description: "Open the site.",
    condition: "count < 5",
    counter: "events",
    group: { event: "page view" },
    states: [{ ...inAlarm, group: { event: "Ünïcode" } }],
  });

  it.each(["", "LOW", "open site", "count < 5", "page view", "ünï", "events low"])("finds %j", (text) => {
    expect(matches(alarm, text)).toBe(true);
  });

  it("wants every word", () => {
    expect(matches(alarm, "low high")).toBe(false);
  });
});

describe("alarmHref", () => {
  it("holds the group, whatever its key is made of", () => {
    expect(alarmHref("low")).toBe("/alarms?name=low");
    const address = new URL(alarmHref("low", '["a&b=c",null]'), "http://host");
    expect(address.searchParams.get("key")).toBe('["a&b=c",null]');
  });
});
