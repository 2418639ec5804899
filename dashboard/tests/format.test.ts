import { describe, expect, it } from "vitest";
import {
  axisLabels,
  formatBytes,
  formatChange,
  formatCompact,
  formatDateTime,
  formatElapsed,
  formatNumber,
  formatPercent,
  formatWindow,
  fromInputTime,
  toInputTime,
} from "../src/format";
import { DAY, HOUR, MINUTE, SECOND } from "../src/time";

const TIME = Date.UTC(2026, 2, 4, 9, 5, 0);

describe("numbers", () => {
  it("are written in full", () => {
    expect(formatNumber(1234567)).toBe("1,234,567");
    expect(formatNumber(0.1 + 0.2)).toBe("0.3");
    expect(formatNumber(-1234.5)).toBe("-1,234.5");
    expect(formatNumber(0.000012345)).toBe("0.0000123");
    expect(formatNumber(Number.MAX_SAFE_INTEGER)).toBe("9,007,199,254,740,991");
    expect(formatNumber(2 ** 60)).toMatch(/^≈1,152,921,504,606,8/);
    expect(formatNumber(null)).toBe("–");
  });

  it("are written short", () => {
    expect([0, 7, 12.345, 999, 9999, 12_345, 1_234_567].map(formatCompact)).toEqual([
      "0",
      "7",
      "12.3",
      "999",
      "9,999",
      "12.3K",
      "1.2M",
    ]);
  });

  it("are written as shares and changes", () => {
    expect([0, 0.0004, 0.5, 1].map(formatPercent)).toEqual(["0.0%", "<0.1%", "50.0%", "100.0%"]);
    expect([0.123, -0.5, 0, 1.5, 30].map(formatChange)).toEqual(["+12.3%", "−50.0%", "0.0%", "+150%", "×31"]);
  });

  it("are written as sizes and times", () => {
    expect([0, 1023, 1536, 123 * 1024 ** 3].map(formatBytes)).toEqual(["0 B", "1,023 B", "1.5 KiB", "123 GiB"]);
    expect([0, 350, 61 * SECOND, 25 * HOUR, 3 * DAY].map(formatElapsed)).toEqual([
      "0 ms",
      "350 ms",
      "1 min 1 s",
      "1 d 1 h",
      "3 d 0 h",
    ]);
  });
});

describe("times", () => {
  it("name a window by both its ends", () => {
    expect(formatWindow(TIME, MINUTE, "utc")).toBe("2026-03-04 09:05 – 09:06");
    expect(formatWindow(TIME, 10 * SECOND, "utc")).toBe("2026-03-04 09:05:00 – 09:05:10");
    expect(formatWindow(Date.UTC(2026, 2, 4), DAY, "utc")).toBe("2026-03-04 00:00 – 2026-03-05 00:00");
  });

  it("follow the zone of the reader where asked", () => {
    const local = new Date(TIME);
    expect(formatDateTime(TIME, "local")).toContain(`${String(local.getHours()).padStart(2, "0")}:`);
  });

  it("label an axis with its day once, on the first label that is seen", () => {
    const midnight = Date.UTC(2026, 2, 5);
    const splits = [midnight - 2 * HOUR, midnight - HOUR, midnight, midnight + HOUR];
    expect(axisLabels(splits, midnight - HOUR, HOUR, "utc")).toEqual(["", "23:00\n4 Mar", "00:00\n5 Mar", "01:00"]);
    expect(axisLabels([midnight, midnight + DAY], midnight, DAY, "utc")).toEqual(["5 Mar", "6 Mar"]);
  });

  it("go into an input and come back", () => {
    for (const zone of ["utc", "local"] as const) expect(fromInputTime(toInputTime(TIME, zone), zone)).toBe(TIME);
    expect(fromInputTime("", "utc")).toBeNull();
  });
});
