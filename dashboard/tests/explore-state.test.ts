import { describe, expect, it } from "vitest";
import type { CounterInfo, Definition } from "../src/api";
import { queryUrl } from "../src/api";
import { type ExploreState, readState, toQuery, usableWindows, withCounter, writeState } from "../src/explore-state";
import { DAY, HOUR, MINUTE } from "../src/time";

function counter(name: string, change: Partial<CounterInfo> = {}): CounterInfo {
  return {
    name,
    where: null,
    group_by: ["event"],
    windows: ["1m", "1h"],
    measures: ["count"],
    keep: null,
    generation: 1,
    since: 0,
    ...change,
  };
}

const EVENTS = counter("events");
const DONATIONS = counter("donations", {
  group_by: ["country", "user.kind"],
  measures: ["count", "sum(amount)", "mean(amount)"],
  windows: ["15m"],
});
const DEFINITION: Definition = {
  name: "web",
  stream: { event_time: "t", shards: 1, retention: "1d" },
  counters: [EVENTS, DONATIONS],
  aws: null,
};

const read = (search: string) => readState(new URLSearchParams(search), DEFINITION);

describe("the address", () => {
  it("of the defaults names the counter alone", () => {
    expect(writeState(read("")).toString()).toBe("counter=events");
  });

  it("comes back as it was, whatever is chosen", () => {
    const state: ExploreState = {
      counter: DONATIONS,
      measure: "mean(amount)",
      windowMs: HOUR,
      range: { lastMs: DAY },
      by: ["country"],
      overMs: 3 * HOUR,
      show: "rate",
      compare: true,
      filters: [
        { field: "country", value: "GB" },
        { field: "country", value: "null" },
        { field: "country", value: null },
        { field: "country", value: 3 },
        { field: "country", value: "3" },
        { field: "country", value: '"3"' },
        { field: "country", value: "[3]" },
        { field: "country", value: "12345678901234567890" },
        { field: "country", value: "" },
        { field: "user.kind", value: "a&b=c #%" },
      ],
      top: 3,
      other: false,
      chart: "area",
      table: "windows",
    };
    expect(read(writeState(state).toString())).toEqual(state);
    const nothingApart = { ...state, by: [], range: { from: 0, to: DAY } };
    expect(read(writeState(nothingApart).toString())).toEqual(nothingApart);
  });

  it("names a value by its text where no other reads the same, else as JSON", () => {
    const filters = ["page view", "3", 3, null].map((value) => ({ field: "event", value }));
    const params = writeState({ ...read(""), filters });
    expect(params.getAll("group.event")).toEqual(["page view"]);
    expect(params.getAll("exact.event")).toEqual(['"3"', "3", "null"]);
  });

  it("that leaves open which value is meant, as a text typed by hand, means both", () => {
    expect(read("group.event=3&group.event=1e999&exact.event=3&exact.event=nonsense").filters).toEqual(
      ["3", 3, "1e999"].map((value) => ({ field: "event", value })),
    );
  });

  it("keeps fields apart whatever they are called", () => {
    const counter = { ...EVENTS, name: "odd", group_by: ["a", "b", "a,b", " c"] };
    const definition = { ...DEFINITION, counters: [counter] };
    const readOdd = (params: string) => readState(new URLSearchParams(params), definition);
    for (const by of [["a,b"], ["a", "b"], ["a,b", " c"], [], counter.group_by])
      expect(readOdd(writeState({ ...readOdd(""), by }).toString()).by).toEqual(by);
    expect(readOdd("by=b,a").by).toEqual(["a", "b"]);
  });

  it("that names what is not there falls back", () => {
    const state = read(
      "counter=gone&measure=sum(x)&window=7m&over=90s&show=toString&chart=pie&top=-1&range=never&by=nobody&group.nobody=1",
    );
    expect(state).toEqual({ ...read(""), by: [] });
    expect(read("counter=__proto__").counter).toBe(EVENTS);
  });

  it("draws means as lines, counts as bars", () => {
    expect(read("counter=donations&measure=mean(amount)").chart).toBe("line");
    expect(read("counter=donations").chart).toBe("bars");
  });
});

describe("the query", () => {
  it("says what the state says", () => {
    const query = toQuery(read("range=1h&group.event=page+view&exact.event=null&top=3&compare=previous&over=5m"), 90 * MINUTE);
    expect(queryUrl(query)).toBe(
      `/v1/query?counter=events&window=1m&from=${31 * MINUTE}&to=${91 * MINUTE}&measure=count&group.event=page+view&exact.event=null` +
        "&top=3&other=true&over=5m&compare=previous&fill=zero",
    );
    expect(queryUrl(query, "csv")).toContain("&format=csv");
  });

  it("merges everything when nothing is kept apart", () => {
    const query = toQuery(read("by="), 0);
    expect(query.by).toEqual([]);
    expect(query.other).toBe(false);
  });
});

describe("choices", () => {
  it("hold no window that makes too many points", () => {
    const month = usableWindows({ counter: EVENTS, range: { lastMs: 30 * DAY } });
    expect(month).not.toContain(MINUTE);
    expect(month).toContain(HOUR);
    expect(usableWindows({ counter: EVENTS, range: { lastMs: 99_999 * DAY } })).toHaveLength(1);
  });

  it("that another counter does not have are dropped", () => {
    const state = withCounter(read("counter=events&group.event=click&window=1h&over=2h"), DONATIONS);
    expect(state).toMatchObject({ counter: DONATIONS, filters: [], by: DONATIONS.group_by, windowMs: null, overMs: null });
  });
});
