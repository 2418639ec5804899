import { describe, expect, it } from "vitest";
import type { Point, QueryRequest, QueryResult, Series } from "../src/api";
import { addPoints, align, canMerge, compare, groupKey, mergeResult } from "../src/series";

const QUERY: QueryRequest = {
  counter: "events",
  windowMs: 10,
  measure: "count",
  from: 0,
  to: 30,
  filters: [],
  by: null,
  top: 2,
  other: true,
  overMs: null,
  show: "value",
  compare: false,
};

function series(event: string | null, points: Point[], extra: Partial<Series> = {}): Series {
  return { group: { event }, total: points.reduce((sum, [, value]) => sum + (value ?? 0), 0), points, ...extra };
}

function result(list: Series[], from = 0, to = 30): QueryResult {
  return { counter: "events", window: "10ms", measure: "count", from, to, series: list, groups: list.length, truncated: false };
}

describe("groupKey", () => {
  it("tells values apart by type, and is safe for any field name", () => {
    const values = [null, "null", "NULL", 3, "3", true, "true", ""];
    expect(new Set(values.map((event) => groupKey({ group: { event } }))).size).toBe(values.length);
    const hostile = JSON.parse('{"__proto__": "a"}') as Series["group"];
    expect(groupKey({ group: hostile })).not.toBe(groupKey({ group: {} }));
    expect(groupKey({ group: {}, other: true })).not.toBe(groupKey({ group: {} }));
  });
});

describe("mergeResult", () => {
  it("replaces the touched windows of each group, gone ones too, and adds totals up anew", () => {
    const current = result([
      series("a", [
        [0, 5],
        [10, 5],
        [20, 1],
      ]),
      series("b", [
        [0, 1],
        [20, 4],
      ]),
    ]);
    const merged = mergeResult(current, result([series("a", [[20, 7]])], 20, 30), QUERY);
    expect(merged.series).toEqual([
      series("a", [
        [0, 5],
        [10, 5],
        [20, 7],
      ]),
      series("b", [[0, 1]]),
    ]);
    expect(merged.series.map(({ total }) => total)).toEqual([17, 1]);
  });

  it("keeps the largest group first", () => {
    const current = result([series("a", [[0, 5]]), series("b", [[0, 4]])]);
    const merged = mergeResult(current, result([series("a", [[10, 1]]), series("b", [[10, 9]])], 10, 20), QUERY);
    expect(merged.series.map(({ group }) => group.event)).toEqual(["b", "a"]);
  });

  it("adds what has no series on the server to the rest, which comes last", () => {
    const rest = (points: Point[]): Series => ({ group: {}, other: true, total: points[0]![1], points });
    const current = result([series("a", [[0, 1]])]);
    const part = result([series("b", [[20, 2]]), rest([[20, 9]])], 20, 30);
    const merged = mergeResult(current, part, QUERY);
    expect(merged.series).toEqual([series("b", [[20, 2]]), series("a", [[0, 1]]), rest([[20, 9]])]);
    expect(merged.groups).toBe(2);
    const again = mergeResult(merged, result([series("c", [[20, 1]]), rest([[20, 11]])], 20, 30), QUERY);
    expect(again.series.at(-1)).toEqual(rest([[20, 12]]));
    expect(mergeResult(current, part, { ...QUERY, other: false }).series).toHaveLength(2);
    expect(mergeResult(current, part, { ...QUERY, other: false, top: null }).series).toHaveLength(3);
  });

  it("adds a new group while there is room", () => {
    const merged = mergeResult(
      result([series("a", [[0, 5]])]),
      result([series("a", [[20, 1]]), series(null, [[20, 2]])], 20, 30),
      QUERY,
    );
    expect(merged.series).toEqual([
      series("a", [
        [0, 5],
        [20, 1],
      ]),
      series(null, [[20, 2]]),
    ]);
    expect(merged.groups).toBe(2);
  });

  it("puts groups that are not shown into the rest", () => {
    const current = result([
      series("a", [[0, 5]]),
      series("b", [[0, 4]]),
      {
        group: {},
        other: true,
        total: 3,
        points: [
          [0, 2],
          [20, 1],
        ],
      },
    ]);
    const part = result([series("a", [[20, 1]]), series("c", [[20, 3]]), series("d", [[20, 4]])], 20, 30);
    const merged = mergeResult(current, part, QUERY);
    expect(merged.series.at(-1)).toEqual({
      group: {},
      other: true,
      total: 9,
      points: [
        [0, 2],
        [20, 7],
      ],
    });
  });

  it("begins a rest when there is none yet and no room", () => {
    const current = result([series("a", [[0, 5]]), series("b", [[0, 4]])]);
    const merged = mergeResult(current, result([series("c", [[20, 3]])], 20, 30), QUERY);
    expect(merged.series.at(-1)).toEqual({ group: {}, other: true, total: 3, points: [[20, 3]] });
    expect(mergeResult(current, result([series("c", [[20, 3]])], 20, 30), { ...QUERY, other: false }).series).toHaveLength(2);
  });

  it("equals the whole answer, however the changes are cut", () => {
    const whole = result([
      series("a", [
        [0, 3],
        [10, 2],
        [20, 8],
      ]),
      series("b", [
        [0, 1],
        [10, 4],
        [20, 1],
      ]),
    ]);
    let merged = result([
      series("a", [
        [0, 3],
        [10, 1],
      ]),
      series("b", [[0, 1]]),
    ]);
    for (const [from, to] of [
      [10, 20],
      [20, 30],
      [0, 20],
    ] as const) {
      const cut = ({ group, points }: Series) =>
        series(
          group.event as string,
          points.filter(([start]) => start >= from && start < to),
        );
      merged = mergeResult(merged, result(whole.series.map(cut), from, to), QUERY);
    }
    expect(merged).toEqual(whole);
  });

  it("is for values that add up only", () => {
    expect(canMerge(QUERY)).toBe(true);
    expect(canMerge({ ...QUERY, measure: "sum(amount)" })).toBe(true);
    for (const change of [
      { measure: "mean(amount)" },
      { measure: "max(amount)" },
      { show: "share" as const },
      { overMs: 20 },
    ]) {
      expect(canMerge({ ...QUERY, ...change })).toBe(false);
    }
  });
});

describe("compare", () => {
  const both = series(
    "a",
    [
      [0, 10],
      [10, 10],
      [20, 1],
    ],
    {
      previous: [
        [0, 5],
        [10, 5],
        [20, 5],
      ],
      previous_total: 15,
    },
  );

  it("reads no drop into the window that is still filling", () => {
    expect(compare([both], "count", 10, 20)).toEqual({ total: 21, previous: 15, change: 1 });
  });

  it("compares everything once all is complete", () => {
    expect(compare([both], "count", 10, 30).change).toBeCloseTo(6 / 15);
  });

  it("adds groups up", () => {
    expect(compare([both, both], "count", 10, 20)).toEqual({ total: 42, previous: 30, change: 1 });
  });

  it("takes the server's totals of measures that do not add up", () => {
    const mean = { ...both, total: 3, previous_total: 2 };
    expect(compare([mean], "mean(amount)", 10, 20)).toEqual({ total: 3, previous: 2, change: 0.5 });
  });

  it("knows no change from nothing", () => {
    expect(compare([series("a", [[0, 1]])], "count", 10, 20).change).toBeNull();
    expect(compare([], "mean(amount)", 10, 20)).toEqual({ total: null, previous: null, change: null });
  });
});

describe("points", () => {
  it("align to windows", () => {
    expect(
      align(
        [
          [10, 5],
          [30, null],
        ],
        [0, 10, 20, 30],
        0,
      ),
    ).toEqual([0, 5, 0, null]);
  });

  it("add up window by window", () => {
    expect(
      addPoints([
        [
          [10, 1],
          [20, 2],
        ],
        [
          [0, 4],
          [20, null],
        ],
      ]),
    ).toEqual([
      [0, 4],
      [10, 1],
      [20, 2],
    ]);
  });
});
