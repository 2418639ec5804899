/** A chart as a PNG file: what is on the screen, with a title and a legend, so that it explains itself in a slide. */

import type { ChartColors } from "../color";
import { truncate } from "../text";

interface ImageText {
  title: string;
  subtitle: string;
  legend: { label: string; color: string }[];
}

const PAD = 20;
const LINE = 20;

/** Compose the image. The chart's canvas is drawn as it is, at its own resolution. */
export function composeImage(
  chart: HTMLCanvasElement,
  { title, subtitle, legend }: ImageText,
  colors: ChartColors,
): HTMLCanvasElement {
  const scale = devicePixelRatio;
  const width = chart.width / scale;
  const image = document.createElement("canvas");
  const ctx = image.getContext("2d")!;
  const font = (px: number, weight = 400) => `${weight} ${px}px system-ui, sans-serif`;

  ctx.font = font(13);
  const rows: { label: string; color: string; x: number; row: number }[] = [];
  let x = 0;
  let row = 0;
  for (const { label, color } of legend) {
    const text = truncate(label, 48);
    const step = ctx.measureText(text).width + 36;
    if (x > 0 && x + step > width) {
      x = 0;
      row += 1;
    }
    rows.push({ label: text, color, x, row });
    x += step;
  }

  const chartTop = PAD + 2 * LINE + 12;
  const legendTop = chartTop + chart.height / scale + 12;
  image.width = Math.round((width + 2 * PAD) * scale);
  image.height = Math.round((legendTop + (row + 1) * LINE + PAD) * scale);
  ctx.scale(scale, scale);
  ctx.fillStyle = colors.background;
  ctx.fillRect(0, 0, image.width, image.height);
  ctx.textBaseline = "top";
  ctx.fillStyle = colors.text;
  ctx.font = font(16, 600);
  ctx.fillText(title, PAD, PAD);
  ctx.fillStyle = colors.muted;
  ctx.font = font(13);
  ctx.fillText(subtitle, PAD, PAD + LINE + 4);
  ctx.drawImage(chart, PAD, chartTop, width, chart.height / scale);
  for (const item of rows) {
    const top = legendTop + item.row * LINE;
    ctx.fillStyle = item.color;
    ctx.fillRect(PAD + item.x, top + 2, 10, 10);
    ctx.fillStyle = colors.text;
    ctx.fillText(item.label, PAD + item.x + 16, top);
  }
  return image;
}

/** Offer a canvas as a file to keep. */
export function downloadImage(canvas: HTMLCanvasElement, name: string): void {
  canvas.toBlob((blob) => {
    if (!blob) return;
    const url = URL.createObjectURL(blob);
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }, "image/png");
}
