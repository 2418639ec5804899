import { describe, expect, it } from "vitest";
import type { AlarmState, Step, Transition } from "../src/alarm-api";
import type { CounterInfo, Filter, Group } from "../src/api";
import { alarmSpans, boundsExtent, breachText, covered, type Shown, stepAt, type Watch, watchedBy } from "../src/chart/watch";
import { anAlarm } from "./an-alarm";

const steps: Step[] = [
  [10, 5],
  [20, null],
  [30, 7.123456],
  [40, 7.123456],
];

describe("stepAt", () => {
  it("holds from a step to the next, and nothing before the first or from the last on", () => {
    expect([9, 10, 19, 20, 30, 39, 40].map((ms) => stepAt(steps, ms))).toEqual([null, 5, 5, null, 7.123456, 7.123456, null]);
  });
});

describe("breachText", () => {
  it("says which side breaches, and whether the bound itself does", () => {
    const below = { lower: steps, upper: [], inclusive: false };
    expect(breachText(below, 15)).toBe("below 5");
    expect(breachText({ ...below, inclusive: true }, 15)).toBe("5 or less");
    expect(breachText({ lower: [], upper: steps, inclusive: true }, 15)).toBe("5 or more");
    expect(breachText({ ...below, upper: steps }, 30)).toBe("below 7.123 or above 7.123");
    expect(breachText({ ...below, upper: steps }, 20)).toBe("");
  });
});

describe("alarmSpans", () => {
  const to = (at: number, new_state: Transition["new_state"], old_state: Transition["old_state"]) => ({
    at,
    old_state,
    new_state,
  });
  const range = { from: 100, to: 200 };

  it("goes from ALARM to what follows, cut to the range", () => {
    const transitions = [
      to(110, "OK", "ALARM"),
      to(130, "ALARM", "OK"),
      to(150, "INSUFFICIENT_DATA", "ALARM"),
      to(180, "ALARM", "OK"),
    ];
    expect(alarmSpans(transitions, undefined, range, 190)).toEqual([
      { from: 100, to: 110 },
      { from: 130, to: 150 },
      { from: 180, to: 190 },
    ]);
  });

  it("goes by the present state where nothing changed, as far as that tells", () => {
    expect(alarmSpans([], { state: "ALARM", since: 50 }, range, 300)).toEqual([{ from: 100, to: 200 }]);
    expect(alarmSpans([], { state: "ALARM", since: 250 }, range, 300)).toEqual([]);
    expect(alarmSpans([], { state: "OK", since: 50 }, range, 300)).toEqual([]);
    expect(alarmSpans([], undefined, range, 300)).toEqual([]);
  });
});

describe("covered", () => {
  it("joins what overlaps or touches, in order", () => {
    const span = (from: number, to: number) => ({ from, to });
    const given = [span(50, 60), span(0, 10), span(5, 7), span(10, 20), span(55, 70)];
    expect(covered(given)).toEqual([span(0, 20), span(50, 70)]);
    expect(given[1]).toEqual(span(0, 10));
    expect(covered([])).toEqual([]);
  });
});

describe("boundsExtent", () => {
  const watch: Watch = {
    label: "",
    lower: [],
    upper: [
      [0, 50],
      [9, 50],
    ],
    expected: [],
    inclusive: false,
    spans: [],
    transitions: [],
    whole: false,
  };

  it("takes in a bound that is near, or any where the chart is of the alarm", () => {
    expect(boundsExtent([watch], [0, 40])).toEqual([0, 50]);
    expect(boundsExtent([watch], [0, 10])).toEqual([0, 10]);
    expect(boundsExtent([{ ...watch, whole: true }], [0, 10])).toEqual([0, 50]);
    expect(
      boundsExtent(
        [
          {
            ...watch,
            upper: [
              [0, null],
              [5, -3],
              [9, -3],
            ],
            whole: true,
          },
        ],
        [0, 10],
      ),
    ).toEqual([-3, 10]);
  });
});

describe("watchedBy", () => {
  const counter: CounterInfo = {
    name: "events",
    where: null,
    group_by: ["event", "country"],
    windows: ["1m"],
    measures: ["count"],
    keep: null,
    generation: 1,
    since: 0,
  };
  const GB: Group = { event: "click", country: "GB" };
  const DE: Group = { event: "click", country: "DE" };
  const one = anAlarm({ name: "one", group: GB });
  const state = (group: Group, key: string, name: AlarmState["state"]) => ({
    group,
    key,
    state: name,
    since: 0,
    acknowledged: null,
  });
  const each = anAlarm({ name: "each", each: true, states: [state(GB, "gb", "OK"), state(DE, "de", "ALARM")] });

  function shown(series: Shown["series"], query: Partial<Shown["query"]> = {}, kind: Shown["kind"] = "bars"): Shown {
    const base: Shown["query"] = {
      counter: "events",
      windowMs: 60_000,
      measure: "count",
      filters: [],
      by: null,
      show: "value",
      overMs: null,
    };
    return { counter, query: { ...base, ...query }, series, kind };
  }
  const found = (alarms: Parameters<typeof watchedBy>[0], what: Shown) =>
    watchedBy(alarms, what).map(({ alarm, status, measured }) => [alarm.name, status.key, measured]);

  it("finds the group, those in ALARM first; in a stack none can be measured on the axis", () => {
    const series = [{ group: GB }, { group: DE }];
    expect(found([one, each], shown(series))).toEqual([
      ["each", "de", false],
      ["one", "", false],
      ["each", "gb", false],
    ]);
    expect(found([one], shown([{ group: GB }]))).toEqual([["one", "", true]]);
    expect(found([one, each], shown(series, {}, "line")).every(([, , measured]) => measured)).toBe(true);
  });

  it("measures nothing in other windows, of which the time in ALARM is true all the same", () => {
    expect(found([one], shown([{ group: GB }], { windowMs: 120_000 }))).toEqual([["one", "", false]]);
  });

  it("takes a merged series for a group only where the filters leave one", () => {
    const country = (value: string): Filter => ({ field: "country", value });
    const merged = [{ group: { event: "click" } }];
    expect(found([one], shown(merged, { by: ["event"] }))).toEqual([]);
    expect(found([one], shown(merged, { by: ["event"], filters: [country("GB"), country("DE")] }))).toEqual([]);
    expect(found([one], shown(merged, { by: ["event"], filters: [country("GB")] }))).toEqual([["one", "", true]]);
  });

  it("tells values of different types apart, and knows NULL", () => {
    const nobody = anAlarm({ name: "null", each: true, states: [state({ event: null, country: "3" }, "n", "OK")] });
    expect(found([nobody], shown([{ group: { event: "null", country: "3" } }]))).toEqual([]);
    expect(found([nobody], shown([{ group: { event: null, country: 3 } }]))).toEqual([]);
    expect(found([nobody], shown([{ group: { event: null, country: "3" } }]))).toEqual([["null", "n", true]]);
  });

  it("leaves out what is something else", () => {
    const series = [{ group: GB }];
    const others = [
      anAlarm({ group: GB, counter: "sales" }),
      anAlarm({ group: GB, measure: "sum(x)" }),
      anAlarm({ group: DE }),
    ];
    expect(found(others, shown(series))).toEqual([]);
    expect(found([one], shown(series, { show: "rate" }))).toEqual([]);
    expect(found([one], shown(series, { overMs: 120_000 }))).toEqual([]);
    expect(found([one], shown([{ group: {}, other: true }]))).toEqual([]);
  });

  it("finds an alarm on a counter without groups", () => {
    const plain = { ...shown([{ group: {} }]), counter: { ...counter, group_by: [] } };
    expect(found([anAlarm()], plain)).toEqual([["low", "", true]]);
  });
});
