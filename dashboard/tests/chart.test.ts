import { describe, expect, it } from "vitest";
import { type ChartModel, extent, firstOpen, formatValue, previousLines, stack } from "../src/chart/model";

function model(values: (number | null)[][], change: Partial<ChartModel> = {}): ChartModel {
  return {
    kind: "bars",
    show: "value",
    from: 0,
    to: 30,
    windowMs: 10,
    starts: [0, 10, 20],
    completeUntil: 20,
    fromZero: true,
    series: values.map((list, index) => ({ key: String(index), label: String(index), color: "#000", values: list })),
    ...change,
  };
}

describe("stack", () => {
  it("puts values upon each other, and negative ones below zero", () => {
    expect(stack([{ values: [1, 2] }, { values: [3, -4] }, { values: [5, null] }])).toEqual([
      { base: [0, 0], top: [1, 2] },
      { base: [1, 0], top: [4, -4] },
      { base: [4, 2], top: [9, 2] },
    ]);
  });
});

describe("firstOpen", () => {
  it("is the first window that has not ended", () => {
    expect(firstOpen(model([[1, 2, 3]]))).toBe(2);
    expect(firstOpen(model([[1, 2, 3]], { completeUntil: 30 }))).toBe(3);
    expect(firstOpen(model([[1, 2, 3]], { completeUntil: 5 }))).toBe(0);
  });
});

describe("extent", () => {
  it("holds the stack, not only its parts", () => {
    expect(
      extent(
        model([
          [1, 2, 3],
          [10, 0, 0],
        ]),
      ),
    ).toEqual([0, 11]);
    expect(
      extent(
        model(
          [
            [1, 2, 3],
            [10, 0, 0],
          ],
          { kind: "line" },
        ),
      ),
    ).toEqual([0, 10]);
  });

  it("leaves zero out where it has no meaning", () => {
    expect(extent(model([[21, null, 23]], { kind: "line", fromZero: false }))).toEqual([21, 23]);
    expect(extent(model([[null, null, null]], { kind: "line", fromZero: false }))).toEqual([0, 1]);
  });

  it("holds the period before", () => {
    const chart = model([
      [1, 1, 1],
      [2, 2, 2],
    ]);
    chart.series.forEach((series) => (series.previous = [9, 0, 0]));
    expect(extent(chart)).toEqual([0, 18]);
    expect(previousLines(chart)).toEqual([{ color: null, values: [18, 0, 0] }]);
    expect(previousLines({ ...chart, kind: "line" })).toHaveLength(2);
  });
});

describe("formatValue", () => {
  it("follows what is shown", () => {
    expect(formatValue(1234, "value")).toBe("1,234");
    expect(formatValue(0.123456, "rate")).toBe("0.1235/s");
    expect(formatValue(0.5, "share")).toBe("50.0%");
    expect(formatValue(-0.5, "change")).toBe("−50.0%");
    for (const show of ["value", "share", "change"] as const) expect(formatValue(null, show)).toBe("–");
  });
});
