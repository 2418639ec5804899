import { describe, expect, it } from "vitest";
import type { Definition } from "../src/api";
import { sortRows } from "../src/components/sortable";
import { sampleEvent } from "../src/sample-event";

describe("the sample event", () => {
  it("has what the definition asks for, nested where its paths are", () => {
    const definition: Definition = {
      name: "web",
      stream: { event_time: "data.time", shards: 1, retention: "1d" },
      aws: null,
      counters: [
        {
          name: "events",
          where: null,
          group_by: ["event", "data.user.country"],
          windows: ["1m"],
          measures: ["count"],
          keep: null,
          generation: 1,
          since: 0,
        },
      ],
    };
    expect(sampleEvent(definition, Date.UTC(2026, 2, 4))).toEqual({
      data: { time: "2026-03-04T00:00:00.000Z", user: { country: "example" } },
      event: "page view",
    });
  });
});

describe("sortRows", () => {
  it("puts rows without a value last, either way, and keeps equal ones in order", () => {
    const rows = [
      ["a", 2],
      ["b", null],
      ["c", 1],
      ["d", 2],
    ] as const;
    const names = (descending: boolean) => sortRows(rows, ([, value]) => value, descending).map(([name]) => name);
    expect(names(false)).toEqual(["c", "a", "d", "b"]);
    expect(names(true)).toEqual(["a", "d", "c", "b"]);
  });
});
