import { describe, expect, it } from "vitest";
import {
  DAY,
  formatDuration,
  formatRange,
  HOUR,
  MINUTE,
  parseDuration,
  parseRange,
  SECOND,
  spanOf,
  touchedWindows,
  windowChoices,
  windowEnd,
  windowFor,
  windowStarts,
} from "../src/time";

const NOW = Date.UTC(2026, 2, 4, 10, 15, 30);

describe("durations", () => {
  it("are read and written alike", () => {
    for (const text of ["500ms", "90s", "15m", "5h", "7d"]) expect(formatDuration(parseDuration(text)!)).toBe(text);
    expect(formatDuration(parseDuration("24h")!)).toBe("1d");
  });

  it("refuse what is none", () => {
    for (const text of ["", "0m", "1", "m", "-1h", "1.5h", "1w", "1m "]) expect(parseDuration(text)).toBeNull();
  });
});

describe("ranges", () => {
  it("that end now hold whole windows and the open one", () => {
    expect(spanOf({ windows: 60 }, MINUTE, NOW)).toEqual({
      from: Date.UTC(2026, 2, 4, 9, 16),
      to: Date.UTC(2026, 2, 4, 10, 16),
    });
    expect(spanOf({ lastMs: HOUR }, 15 * MINUTE, NOW)).toEqual({
      from: Date.UTC(2026, 2, 4, 9, 30),
      to: Date.UTC(2026, 2, 4, 10, 30),
    });
  });

  it("begin a new window exactly on its start", () => {
    expect(windowEnd(10 * MINUTE, MINUTE)).toBe(11 * MINUTE);
    expect(windowEnd(10 * MINUTE - 1, MINUTE)).toBe(10 * MINUTE);
    expect(windowEnd(-1, MINUTE)).toBe(0);
  });

  it("between two instants grow to whole windows, one at least", () => {
    expect(spanOf({ from: 90 * SECOND, to: 150 * SECOND }, MINUTE, NOW)).toEqual({ from: MINUTE, to: 3 * MINUTE });
    expect(spanOf({ from: 61 * SECOND, to: 62 * SECOND }, MINUTE, NOW)).toEqual({ from: MINUTE, to: 2 * MINUTE });
  });

  it("are written as they are read", () => {
    for (const text of ["60w", "6h", "2026-03-04T10:15Z/2026-03-04T11:00Z", "2026-03-04T10:15:30Z/2026-03-04T10:15:30.500Z"]) {
      expect(formatRange(parseRange(text)!)).toBe(text);
    }
  });

  it("refuse what is none", () => {
    for (const text of [null, "", "0w", "6", "a/b", "2026-03-04T10:15Z/2026-03-04T10:15Z", "5/4"])
      expect(parseRange(text)).toBeNull();
  });
});

describe("windows", () => {
  it("to choose from are the stored ones and round multiples", () => {
    const choices = windowChoices([MINUTE, HOUR]);
    expect(choices).toContain(15 * MINUTE);
    expect(choices).not.toContain(30 * SECOND);
    expect(choices).toEqual([...choices].sort((a, b) => a - b));
    expect(windowChoices([13 * SECOND])).toEqual([13 * SECOND]);
  });

  it("suit the range", () => {
    expect(windowFor({ windows: 60 }, [10 * SECOND, HOUR])).toBe(10 * SECOND);
    expect(windowFor({ lastMs: HOUR }, [MINUTE])).toBe(MINUTE);
    expect(windowFor({ lastMs: 30 * DAY }, [MINUTE])).toBe(3 * HOUR);
    expect(windowFor({ lastMs: 15 * MINUTE }, [DAY])).toBe(DAY);
  });

  it("touched by a change are whole and within the range", () => {
    const range = { from: 0, to: 10 * MINUTE };
    expect(touchedWindows({ from: 90 * SECOND, to: 150 * SECOND }, MINUTE, range)).toEqual({ from: MINUTE, to: 3 * MINUTE });
    expect(touchedWindows({ from: 9 * MINUTE, to: 12 * MINUTE }, 5 * MINUTE, range)).toEqual({
      from: 5 * MINUTE,
      to: 10 * MINUTE,
    });
    expect(touchedWindows({ from: 10 * MINUTE, to: 11 * MINUTE }, MINUTE, range)).toBeNull();
  });

  it("are listed by their starts", () => {
    expect(windowStarts({ from: 0, to: 3 * MINUTE }, MINUTE)).toEqual([0, MINUTE, 2 * MINUTE]);
    expect(windowStarts({ from: 0, to: 0 }, MINUTE)).toEqual([]);
  });
});
