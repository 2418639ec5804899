import { describe, expect, it } from "vitest";
import { assignColors, chartColors, GROUP_COLORS } from "../src/color";

type Rgb = [number, number, number];

function linear(hex: string): Rgb {
  return [1, 3, 5].map((at) => {
    const channel = parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
}

function times(matrix: number[][], [r, g, b]: Rgb): Rgb {
  return matrix.map(([x, y, z]) => x! * r + y! * g + z! * b) as Rgb;
}

// Björn Ottosson, "A perceptual color space for image processing", 2020.
function oklab(rgb: Rgb): Rgb {
  const cones = times(
    [
      [0.4122214708, 0.5363325363, 0.0514459929],
      [0.2119034982, 0.6806995451, 0.1073969566],
      [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    rgb,
  );
  const roots = cones.map(Math.cbrt) as Rgb;
  return times(
    [
      [0.2104542553, 0.793617785, -0.0040720468],
      [1.9779984951, -2.428592205, 0.4505937099],
      [0.0259040371, 0.7827717662, -0.808675766],
    ],
    roots,
  );
}

// Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009, severity 1.
const VISION: Record<string, number[][]> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

function seen(hex: string, vision: string): Rgb {
  return oklab(times(VISION[vision]!, linear(hex)).map((channel) => Math.min(1, Math.max(0, channel))) as Rgb);
}

function luminance(hex: string): number {
  const [r, g, b] = linear(hex);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light! + 0.05) / (dark! + 0.05);
}

describe.each(["light", "dark"] as const)("group colors, %s", (theme) => {
  const colors = GROUP_COLORS[theme];

  it.each(Object.keys(VISION))("stay apart with %s", (vision) => {
    const distances = colors.flatMap((one, at) =>
      colors
        .slice(at + 1)
        .map((other) => Math.hypot(...seen(one, vision).map((value, axis) => value - seen(other, vision)[axis]!))),
    );
    expect(distances).toHaveLength(28);
    expect(Math.min(...distances)).toBeGreaterThan(0.09);
  });

  it("stand out from the background, and text can be read on it", () => {
    const { background, text, muted } = chartColors(theme === "dark");
    expect(Math.min(...colors.map((color) => contrast(color, background)))).toBeGreaterThanOrEqual(3);
    expect(contrast(text, background)).toBeGreaterThan(7);
    expect(contrast(muted, background)).toBeGreaterThan(4.5);
  });
});

describe("assignColors", () => {
  it("lets a group keep its color when ranks change", () => {
    const first = assignColors(["a", "b", "c"], new Map());
    expect([...first]).toEqual([
      ["a", 0],
      ["b", 1],
      ["c", 2],
    ]);
    const second = assignColors(["c", "d", "a"], first);
    expect(second.get("a")).toBe(0);
    expect(second.get("c")).toBe(2);
    expect(second.get("d")).toBe(1); // what b left
  });
});
