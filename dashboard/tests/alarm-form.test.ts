import { describe, expect, it } from "vitest";
import type { AlarmChart } from "../src/alarm-api";
import { fieldsOf, testedBounds, formOf, readChanges } from "../src/alarm-form";
import { anAlarm } from "./an-alarm";

const relative = anAlarm({ threshold: null, threshold_percent: -50, clear_threshold_percent: -30, baseline: "7d" });
const band = anAlarm({ threshold: null, band: 3, weeks: 4, comparison: "outside" });

describe("the form", () => {
  it("has the fields of the alarm's kind", () => {
    const names = (alarm: ReturnType<typeof anAlarm>) => fieldsOf(alarm).map(({ name }) => name);
    expect(names(anAlarm()).slice(0, 3)).toEqual(["comparison", "threshold", "clear_threshold"]);
    expect(names(relative).slice(0, 3)).toEqual(["comparison", "threshold_percent", "clear_threshold_percent"]);
    expect(names(band).slice(0, 4)).toEqual(["comparison", "band", "clear_band", "weeks"]);
  });

  it.each([anAlarm(), anAlarm({ clear_threshold: 8, delay: "30s" }), relative, band])("changes nothing by itself", (alarm) => {
    expect(readChanges(alarm, formOf(alarm))).toEqual({});
  });

  it("sends what was changed, with its type, and takes away what was emptied", () => {
    const alarm = anAlarm({ clear_threshold: 8 });
    const form = {
      ...formOf(alarm),
      threshold: "7.5",
      clear_threshold: "",
      evaluation_periods: "3",
      delay: " 30s ",
      wait: "complete",
    };
    expect(readChanges(alarm, form)).toEqual({
      threshold: 7.5,
      clear_threshold: null,
      evaluation_periods: 3,
      delay: "30s",
      wait: "complete",
    });
  });
});

describe("testedBounds", () => {
  const chart: AlarmChart = {
    alarm: "low",
    key: "",
    window: "1m",
    from: 0,
    to: 100,
    points: [],
    lower: [
      [0, 5],
      [100, 5],
    ],
    upper: [],
    expected: [],
    transitions: [],
  };

  it("are those of the alarm while its condition is", () => {
    const { lower, upper, expected } = chart;
    expect(testedBounds(anAlarm(), { evaluation_periods: 3 }, chart)).toEqual({ lower, upper, expected });
  });

  it("leave out what is below zero, where no count can be", () => {
    const lower: AlarmChart["lower"] = [
      [0, -2],
      [50, 3],
      [100, 3],
    ];
    expect(testedBounds(band, {}, { ...chart, lower }).lower).toEqual([[0, null], ...lower.slice(1)]);
    expect(testedBounds({ ...band, measure: "sum(amount)" }, {}, { ...chart, lower }).lower).toEqual(lower);
  });

  it("are those of another threshold, on the side that breaches", () => {
    const line = [
      [0, 7],
      [100, 7],
    ];
    expect(testedBounds(anAlarm(), { threshold: 7 }, chart)).toEqual({ lower: line, upper: [], expected: [] });
    expect(testedBounds(anAlarm(), { threshold: 7, comparison: ">" }, chart)).toEqual({ lower: [], upper: line, expected: [] });
  });

  it("are left out where only the server knows them", () => {
    expect(testedBounds(band, { band: 5 }, chart)).toEqual({ lower: [], upper: [], expected: [] });
  });
});
