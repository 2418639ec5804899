import { describe, expect, it, vi } from "vitest";
import { ApiError, type QueryRequest, type QueryResult } from "../src/api";
import type { Change } from "../src/live";
import { baseWindow, LiveQuery, type QueryState } from "../src/live-query";

const QUERY: QueryRequest = {
  counter: "events",
  windowMs: 60_000,
  measure: "count",
  from: 0,
  to: 600_000,
  filters: [],
  by: null,
  top: 8,
  other: true,
  overMs: null,
  show: "value",
  compare: true,
};

/** A server with one group, whose count per window is `value`; it answers when the test says so. */
function setUp(query: QueryRequest = QUERY) {
  const asked: QueryRequest[] = [];
  const answers: (() => void)[] = [];
  const states: QueryState[] = [];
  const server = { value: 1, error: null as ApiError | null };
  let listener: (changed: Change[]) => void = () => {};
  const live = new LiveQuery(
    query,
    "1m",
    {
      query: (request) =>
        new Promise((resolve, reject) => {
          asked.push(request);
          answers.push(() => {
            const points: [number, number][] = [];
            for (let start = request.from; start < request.to; start += 60_000) points.push([start, server.value]);
            const total = points.length * server.value;
            const result: QueryResult = {
              counter: "events",
              window: "1m",
              measure: "count",
              from: request.from,
              to: request.to,
              groups: 1,
              truncated: false,
              series: [{ group: { event: "a" }, total, points }],
            };
            if (server.error) reject(server.error);
            else resolve(result);
          });
        }),
      subscribe: (on) => {
        listener = on;
        return () => (listener = () => {});
      },
      wait: () => Promise.resolve(),
    },
    (state) => states.push(state),
  );
  const answer = async () => {
    await vi.waitFor(() => expect(answers).not.toHaveLength(0));
    const before = states.length;
    answers.shift()!();
    await vi.waitFor(() => expect(states.length).toBeGreaterThan(before));
  };
  const change = (from: number, to: number, window = "1m", counter = "events") => listener([{ counter, window, from, to }]);
  const total = () => states.at(-1)?.result?.series[0]?.total;
  return { live, asked, states, server, answer, change, total };
}

describe("LiveQuery", () => {
  it("asks for the whole range once, then for what changed", async () => {
    const { live, asked, server, answer, change, total } = setUp();
    live.start();
    await answer();
    expect(total()).toBe(10);
    server.value = 5;
    change(540_000, 600_000);
    await answer();
    expect(asked[1]).toMatchObject({ from: 540_000, to: 600_000, top: null, other: false, compare: false });
    expect(total()).toBe(14);
  });

  it("gathers what changes while a request is under way", async () => {
    const { live, asked, answer, change } = setUp();
    live.start();
    change(60_000, 120_000);
    change(300_000, 360_000);
    await answer();
    await answer();
    expect(asked).toHaveLength(2);
    expect(asked[1]).toMatchObject({ from: 60_000, to: 360_000 });
  });

  it("leaves changes alone that are not its own", async () => {
    const { live, asked, answer, change } = setUp();
    live.start();
    await answer();
    change(0, 3_600_000, "1h");
    change(0, 60_000, "1m", "donations");
    change(600_000, 660_000);
    expect(asked).toHaveLength(1);
  });

  it("asks anew for what cannot be merged", async () => {
    const { live, asked, answer, change } = setUp({ ...QUERY, measure: "mean(amount)" });
    live.start();
    await answer();
    change(540_000, 600_000);
    await answer();
    expect(asked[1]).toMatchObject({ from: 0, to: 600_000, top: 8 });
  });

  it("keeps the last result when the server fails, and goes on after", async () => {
    const { live, server, states, answer, change, total } = setUp();
    live.start();
    await answer();
    server.error = new ApiError(503, "storage", "the disk is full");
    change(540_000, 600_000);
    await answer();
    expect(states.at(-1)).toMatchObject({ error: server.error, result: { groups: 1 } });
    server.error = null;
    server.value = 2;
    live.reload();
    await answer();
    expect(states.at(-1)?.error).toBeNull();
    expect(total()).toBe(20);
  });

  it("is silent once stopped", async () => {
    const { live, asked, states, answer, change } = setUp();
    live.start();
    await answer();
    live.stop();
    change(540_000, 600_000);
    expect(asked).toHaveLength(1);
    expect(states).toHaveLength(1);
  });
});

describe("baseWindow", () => {
  it("is the coarsest stored window that divides", () => {
    const counter = { windows: ["10s", "1m", "1h"] };
    expect(baseWindow(counter, 60_000)).toBe("1m");
    expect(baseWindow(counter, 300_000)).toBe("1m");
    expect(baseWindow(counter, 30_000)).toBe("10s");
    expect(baseWindow(counter, 7_200_000)).toBe("1h");
    expect(baseWindow(counter, 15_000)).toBeUndefined();
  });
});
