/** Drawing the series of a chart. uPlot has axes, scales, cursor and zoom; what lies between the axes is drawn here. */

import type uPlot from "uplot";
import type { ChartColors } from "../color";
import { type ChartModel, firstOpen, previousLines, stack } from "./model";

/** Turns values into canvas pixels. */
interface Pixels {
  x: (ms: number) => number;
  y: (value: number) => number;
  scale: number; // canvas pixels in a CSS pixel
}

type Values = readonly (number | null)[];

const OPEN_ALPHA = 0.5;

/** Draw the open window's ground: below grid lines and series. */
export function drawGround(u: uPlot, model: ChartModel, colors: ChartColors): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const open = model.starts[firstOpen(model)];
  if (open === undefined) return;
  const x = Math.max(left, u.valToPos(open, "x", true));
  const right = Math.min(left + width, u.valToPos(model.starts.at(-1)! + model.windowMs, "x", true));
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, top, right - x, height);
  ctx.clip();
  ctx.fillStyle = colors.open;
  ctx.fillRect(x, top, right - x, height);
  ctx.strokeStyle = colors.open;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  for (let start = x - height; start < right; start += 6 * devicePixelRatio) {
    ctx.moveTo(start, top + height);
    ctx.lineTo(start + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

/** Draw every series, and the period before where there is one. */
export function drawSeries(u: uPlot, model: ChartModel, colors: ChartColors): void {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const scale = devicePixelRatio;
  const pixels: Pixels = { x: (ms) => u.valToPos(ms, "x", true), y: (value) => u.valToPos(value, "y", true), scale };
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top - scale, width, height + 2 * scale);
  ctx.clip();
  ctx.lineJoin = "round";
  if (model.kind === "bars") drawBars(ctx, model, pixels);
  else if (model.kind === "area") drawAreas(ctx, model, pixels);
  else drawLines(ctx, model, pixels);
  ctx.setLineDash([2 * scale, 3 * scale]);
  ctx.lineWidth = 1.25 * scale;
  for (const line of previousLines(model)) {
    ctx.strokeStyle = line.color ?? colors.muted;
    ctx.globalAlpha = line.color ? 0.7 : 1;
    strokeLine(ctx, line.values, model, pixels, 0, model.starts.length - 1);
  }
  ctx.restore();
}

/** A value is drawn in the middle of its window, so that bars and lines over the same data agree. */
function middle(model: ChartModel, index: number): number {
  return model.starts[index]! + model.windowMs / 2;
}

function drawBars(ctx: CanvasRenderingContext2D, model: ChartModel, { x, y, scale }: Pixels): void {
  const layers = stack(model.series);
  const open = firstOpen(model);
  // All edges are whole pixels: neighbours neither overlap nor leave a hairline.
  const edges = [...model.starts, model.starts.at(-1)! + model.windowMs].map((ms) => Math.round(x(ms)));
  const widest = (edges.at(-1)! - edges[0]!) / model.starts.length;
  const gap = widest >= 4 * scale ? Math.max(1, Math.round(Math.min(widest * 0.2, 6 * scale))) : 0;
  model.series.forEach((series, order) => {
    const { base, top } = layers[order]!;
    ctx.fillStyle = series.color;
    series.values.forEach((value, index) => {
      if (!value) return;
      const left = edges[index]!;
      const from = Math.round(y(base[index]!));
      const to = Math.round(y(top[index]!));
      ctx.globalAlpha = index >= open ? OPEN_ALPHA : 1;
      ctx.fillRect(
        left + Math.floor(gap / 2),
        Math.min(from, to),
        Math.max(1, edges[index + 1]! - left - gap),
        Math.abs(from - to),
      );
    });
  });
}

function drawAreas(ctx: CanvasRenderingContext2D, model: ChartModel, pixels: Pixels): void {
  const layers = stack(model.series);
  const last = model.starts.length - 1;
  const open = Math.min(firstOpen(model), last + 1);
  const joint = Math.max(0, open - 1); // the open part begins at the last complete value
  model.series.forEach((series, order) => {
    const { base, top } = layers[order]!;
    ctx.fillStyle = series.color;
    ctx.strokeStyle = series.color;
    for (const [from, to, alpha] of [
      [0, open - 1, 1],
      [joint, last, OPEN_ALPHA],
    ] as const) {
      if (to <= from) continue;
      ctx.beginPath();
      for (let index = from; index <= to; index++) ctx.lineTo(pixels.x(middle(model, index)), pixels.y(top[index]!));
      for (let index = to; index >= from; index--) ctx.lineTo(pixels.x(middle(model, index)), pixels.y(base[index]!));
      ctx.closePath();
      ctx.globalAlpha = 0.8 * alpha;
      ctx.fill();
    }
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1.25 * pixels.scale;
    strokeBothParts(ctx, top, model, pixels);
  });
}

function drawLines(ctx: CanvasRenderingContext2D, model: ChartModel, pixels: Pixels): void {
  ctx.lineWidth = 1.75 * pixels.scale;
  // The largest group is drawn last, on top.
  for (const series of [...model.series].reverse()) {
    ctx.strokeStyle = series.color;
    ctx.fillStyle = series.color;
    strokeBothParts(ctx, series.values, model, pixels);
    dots(ctx, series.values, model, pixels);
  }
}

/** Stroke the complete part of a line solid, and what leads into the open window dashed. */
function strokeBothParts(ctx: CanvasRenderingContext2D, values: Values, model: ChartModel, pixels: Pixels): void {
  const last = model.starts.length - 1;
  const open = firstOpen(model);
  strokeLine(ctx, values, model, pixels, 0, open - 1);
  if (open > last) return;
  ctx.setLineDash([4 * pixels.scale, 3 * pixels.scale]);
  strokeLine(ctx, values, model, pixels, Math.max(0, open - 1), last);
  ctx.setLineDash([]);
}

function strokeLine(
  ctx: CanvasRenderingContext2D,
  values: Values,
  model: ChartModel,
  { x, y }: Pixels,
  from: number,
  to: number,
): void {
  ctx.beginPath();
  let drawing = false;
  for (let index = from; index <= to; index++) {
    const value = values[index];
    if (value === null || value === undefined) {
      drawing = false;
      continue;
    }
    if (drawing) ctx.lineTo(x(middle(model, index)), y(value));
    else ctx.moveTo(x(middle(model, index)), y(value));
    drawing = true;
  }
  ctx.stroke();
}

/** Mark values that stand alone between windows without one: a line through a single point has no length. */
function dots(ctx: CanvasRenderingContext2D, values: Values, model: ChartModel, { x, y, scale }: Pixels): void {
  values.forEach((value, index) => {
    if (value === null || (values[index - 1] ?? null) !== null || (values[index + 1] ?? null) !== null) return;
    ctx.beginPath();
    ctx.arc(x(middle(model, index)), y(value), 2.5 * scale, 0, 2 * Math.PI);
    ctx.fill();
  });
}
