/** Colors that are drawn on a canvas, where CSS cannot reach, and which group has which. */

/**
 * Eight colors for groups, for either background.
 *
 * Chosen so that any two stay apart (Oklab distance ≥ 0.09) for normal vision and under full protanopia, deuteranopia and
 * tritanopia, and each stands out from its background (contrast ≥ 3 : 1); tests/color.test.ts computes both.
 */
export const GROUP_COLORS = {
  light: ["#3759e8", "#c88440", "#16615f", "#d539a0", "#2f96f5", "#7f6d16", "#52238c", "#86200f"],
  dark: ["#43b0f9", "#f2b23f", "#2c9d74", "#fd69b9", "#a6defb", "#f3eeaa", "#8862d7", "#c2521c"],
} as const;

export interface ChartColors {
  groups: readonly string[];
  rest: string;
  background: string;
  text: string;
  muted: string;
  grid: string;
  open: string;
  alarm: string;
  alarmGround: string;
  ok: string;
  band: string;
}

const LIGHT: ChartColors = {
  groups: GROUP_COLORS.light,
  rest: "#9aa0a6",
  background: "#ffffff",
  text: "#1c2024",
  muted: "#646b73",
  grid: "#ebebe8",
  open: "rgba(28, 32, 36, 0.045)",
  alarm: "#c3281c",
  alarmGround: "rgba(195, 40, 28, 0.08)",
  ok: "#0c6b4f",
  band: "rgba(12, 107, 79, 0.10)",
};

const DARK: ChartColors = {
  groups: GROUP_COLORS.dark,
  rest: "#6f767e",
  background: "#17191c",
  text: "#e7e9ec",
  muted: "#99a1aa",
  grid: "#272b30",
  open: "rgba(255, 255, 255, 0.05)",
  alarm: "#ff7a66",
  alarmGround: "rgba(255, 122, 102, 0.12)",
  ok: "#4cc79a",
  band: "rgba(76, 199, 154, 0.13)",
};

export function chartColors(dark: boolean): ChartColors {
  return dark ? DARK : LIGHT;
}

/**
 * Return the color number of each key: a key keeps the one it had, so that groups which change places keep their colors.
 *
 * Newcomers take the lowest numbers that are free.
 */
export function assignColors(keys: readonly string[], before: ReadonlyMap<string, number>): Map<string, number> {
  const assigned = new Map<string, number>();
  for (const key of keys) {
    const number = before.get(key);
    if (number !== undefined) assigned.set(key, number);
  }
  const taken = new Set(assigned.values());
  let next = 0;
  for (const key of keys) {
    if (assigned.has(key)) continue;
    while (taken.has(next)) next += 1;
    taken.add(next);
    assigned.set(key, next);
  }
  return assigned;
}
