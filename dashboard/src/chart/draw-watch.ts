/** Drawing alarms on a chart: the time in ALARM and the expected band as ground, bounds and transitions above the series. */

import type uPlot from "uplot";
import type { Step } from "../alarm-api";
import type { ChartColors } from "../color";
import { covered, type Watch } from "./watch";

interface Area {
  ctx: CanvasRenderingContext2D;
  x: (ms: number) => number;
  y: (value: number) => number;
  left: number;
  right: number;
  top: number;
  bottom: number;
  scale: number; // canvas pixels in a CSS pixel
}

const STRIP_PX = 4;
const MARK_PX = 5;
const TICK_EVERY_PX = 14;

function within(u: uPlot, draw: (area: Area) => void): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top - MARK_PX * scale, width, height + 2 * MARK_PX * scale);
  ctx.clip();
  draw({
    ctx,
    x: (ms) => Math.min(left + width, Math.max(left, u.valToPos(ms, "x", true))),
    y: (value) => u.valToPos(value, "y", true),
    left,
    right: left + width,
    top,
    bottom: top + height,
    scale,
  });
  ctx.restore();
}

/** Draw what lies below the series: the time in ALARM, and what is expected. */
export function drawWatchGround(u: uPlot, watches: readonly Watch[], colors: ChartColors): void {
  within(u, (area) => {
    const { ctx, x, top, bottom, scale } = area;
    for (const { from, to } of covered(watches.flatMap(({ spans }) => spans))) {
      const width = Math.max(scale, x(to) - x(from));
      ctx.fillStyle = colors.alarmGround;
      ctx.fillRect(x(from), top, width, bottom - top);
      ctx.fillStyle = colors.alarm;
      ctx.fillRect(x(from), top, width, STRIP_PX * scale);
    }
    for (const { lower, upper, expected } of watches) if (expected.length > 0) fillBand(area, lower, upper, colors);
  });
}

/** Fill what is expected: between the bounds, or from the only one there is to the edge of the chart. */
function fillBand(area: Area, lower: readonly Step[], upper: readonly Step[], colors: ChartColors): void {
  const { ctx, x, y, top, bottom } = area;
  const times = [...new Set([...lower, ...upper].map(([at]) => at))].sort((a, b) => a - b);
  ctx.fillStyle = colors.band;
  for (const [index, from] of times.slice(0, -1).entries()) {
    const [low, high] = [valueAt(lower, from), valueAt(upper, from)];
    if (low === null && high === null) continue;
    const above = high === null ? top : Math.max(top, y(high));
    const below = low === null ? bottom : Math.min(bottom, y(low));
    ctx.fillRect(x(from), above, x(times[index + 1]!) - x(from), Math.max(0, below - above));
  }
}

function valueAt(steps: readonly Step[], at: number): number | null {
  return steps.findLast(([from]) => from <= at)?.[1] ?? null;
}

/** Draw what lies above the series: bounds, with ticks towards the side that breaches, and changes of state. */
export function drawWatches(u: uPlot, watches: readonly Watch[], colors: ChartColors): void {
  within(u, (area) => {
    const drawn = new Set<string>();
    for (const { lower, upper, expected } of watches) {
      for (const [steps, side] of [
        [lower, 1],
        [upper, -1],
      ] as const) {
        // Alarms on several groups mostly share their bound.
        const shape = JSON.stringify([side, steps]);
        if (!drawn.has(shape)) strokeBound(area, steps, side, colors);
        drawn.add(shape);
      }
      strokeExpected(area, expected, colors);
    }
    for (const { transitions } of watches) {
      for (const { at, new_state } of transitions) drawTransition(area, at, new_state, colors);
    }
  });
}

/** Trace a line of steps. The axis may not reach to it: then there is nothing to see. */
function trace({ ctx, x, y }: Area, steps: readonly Step[]): void {
  ctx.beginPath();
  for (const [index, [from, value]] of steps.slice(0, -1).entries()) {
    if (value === null) continue;
    if ((steps[index - 1]?.[1] ?? null) === null) ctx.moveTo(x(from), y(value));
    else ctx.lineTo(x(from), y(value));
    ctx.lineTo(x(steps[index + 1]![0]), y(value));
  }
  ctx.stroke();
}

function strokeBound(area: Area, steps: readonly Step[], side: 1 | -1, colors: ChartColors): void {
  const { ctx, x, y, scale } = area;
  ctx.strokeStyle = colors.alarm;
  ctx.lineWidth = 1.5 * scale;
  trace(area, steps);
  ctx.lineWidth = scale;
  ctx.beginPath();
  for (const [index, [from, value]] of steps.slice(0, -1).entries()) {
    if (value === null) continue;
    const every = TICK_EVERY_PX * scale;
    for (let at = Math.ceil(x(from) / every) * every; at < x(steps[index + 1]![0]); at += every) {
      ctx.moveTo(at, y(value));
      ctx.lineTo(at - 3 * scale, y(value) + side * 5 * scale);
    }
  }
  ctx.stroke();
}

function strokeExpected(area: Area, steps: readonly Step[], colors: ChartColors): void {
  const { ctx, scale } = area;
  ctx.strokeStyle = colors.muted;
  ctx.lineWidth = scale;
  ctx.setLineDash([2 * scale, 3 * scale]);
  trace(area, steps);
  ctx.setLineDash([]);
}

/** A line through the chart, and a mark whose shape says which state it leads to. */
function drawTransition({ ctx, x, top, bottom, scale }: Area, at: number, state: string, colors: ChartColors): void {
  const color = state === "ALARM" ? colors.alarm : state === "OK" ? colors.ok : colors.muted;
  const middle = x(at);
  const size = MARK_PX * scale;
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = scale;
  ctx.setLineDash([scale, 2 * scale]);
  ctx.beginPath();
  ctx.moveTo(middle, top);
  ctx.lineTo(middle, bottom);
  ctx.stroke();
  ctx.setLineDash([]);
  const y = top + STRIP_PX * scale;
  ctx.beginPath();
  if (state === "ALARM") {
    ctx.moveTo(middle, y - size);
    ctx.lineTo(middle + size, y + size);
    ctx.lineTo(middle - size, y + size);
  } else if (state === "OK") ctx.arc(middle, y, size, 0, 2 * Math.PI);
  else {
    ctx.moveTo(middle, y - size);
    ctx.lineTo(middle + size, y);
    ctx.lineTo(middle, y + size);
    ctx.lineTo(middle - size, y);
  }
  ctx.closePath();
  ctx.fill();
  ctx.strokeStyle = colors.background;
  ctx.stroke();
}
