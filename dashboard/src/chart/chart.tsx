/** A chart over time windows: uPlot for axes, cursor and zoom; a tooltip, keys and a text for those who do not see it. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { type ChartColors, chartColors } from "../color";
import { axisLabels, formatWindow, type Zone } from "../format";
import { dark, zone } from "../preferences";
import type { Span } from "../time";
import { drawGround, drawSeries } from "./draw";
import { drawWatches, drawWatchGround } from "./draw-watch";
import { axisValue, type ChartModel, extent, firstOpen, formatValue, stack } from "./model";
import { breachText, type Watch } from "./watch";

interface ChartProps {
  model: ChartModel;
  /** What the chart is, for screen readers: "events per minute by event". */
  title: string;
  onZoom?: (span: Span) => void;
  /** Receives the canvas, for an image export. */
  onCanvas?: (canvas: HTMLCanvasElement) => void;
}

/** Where uPlot takes the cursor for absent. */
const AWAY = -10;

interface Hover {
  index: number;
  left: number;
}

function toData(model: ChartModel): uPlot.AlignedData {
  const middles = model.starts.map((start) => start + model.windowMs / 2);
  const shown = model.kind === "line" ? model.series.map(({ values }) => values) : stack(model.series).map(({ top }) => top);
  return [middles, ...shown];
}

function yRange(model: ChartModel): [number, number] {
  if (model.show === "share" && model.kind !== "line") return [0, 1];
  const [low, high] = extent(model);
  if (low === high) return high === 0 ? [0, 1] : low > 0 ? [0, high * 1.2] : [low * 1.2, 0];
  const pad = (high - low) * 0.08;
  return [low < 0 || !model.fromZero ? low - pad : 0, high > 0 || !model.fromZero ? high + pad : 0];
}

function options(
  current: () => ChartModel,
  colors: ChartColors,
  zone: Zone,
  size: { width: number; height: number },
): uPlot.Options {
  const model = current();
  const fontPx = Math.round(0.75 * parseFloat(getComputedStyle(document.documentElement).fontSize)); // uPlot reads whole pixels only
  const axis: uPlot.Axis = {
    stroke: colors.muted,
    font: `${fontPx}px system-ui, sans-serif`,
    grid: { stroke: colors.grid, width: 1 },
    ticks: { show: false },
  };
  return {
    ...size,
    ms: 1,
    tzDate: (ms) => (zone === "utc" ? uPlot.tzDate(new Date(ms), "Etc/UTC") : new Date(ms)),
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false },
      points: {
        size: 7,
        width: 2,
        stroke: colors.background,
        fill: (_, index) => current().series[index - 1]?.color ?? colors.muted,
        show: model.kind !== "bars",
      },
    },
    scales: {
      x: { time: true, range: () => [current().from, current().to] },
      y: { range: () => yRange(current()) },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        ticks: { show: true, stroke: colors.grid, size: 4, width: 1 },
        border: { show: true, stroke: colors.grid, width: 1 },
        gap: 4,
        space: 70,
        size: 2.9 * fontPx + 8,
        values: (_, splits, __, ___, step) => axisLabels(splits, current().from, step, zone),
      },
      {
        ...axis,
        gap: 8,
        space: 36,
        size: (_, values) => 14 + fontPx * 0.62 * Math.max(3, ...(values ?? []).map((value) => value.length)),
        values: (_, splits) => splits.map((value) => axisValue(value, current().show)),
      },
    ],
    series: [{}, ...model.series.map(() => ({ paths: () => null, points: { show: false } }))],
    hooks: {
      drawClear: [(u) => drawWatchGround(u, current().watches ?? [], colors), (u) => drawGround(u, current(), colors)],
      draw: [(u) => drawSeries(u, current(), colors), (u) => drawWatches(u, current().watches ?? [], colors)],
    },
  };
}

/** Say in words what the chart shows. */
function describe(model: ChartModel, title: string, zone: Zone): string {
  const open = firstOpen(model);
  const last = open - 1;
  const parts = [`${title}, ${formatWindow(model.from, model.to - model.from, zone)}.`];
  for (const series of model.series.slice(0, 5)) {
    const values = series.values.filter((value) => value !== null);
    if (values.length === 0) continue;
    const highest = Math.max(...values);
    parts.push(
      `${series.label}: highest ${formatValue(highest, model.show)}` +
        (last >= 0 ? `, last complete window ${formatValue(series.values[last], model.show)}.` : "."),
    );
  }
  if (open < model.starts.length) parts.push("The last window is still filling.");
  const lastStart = model.starts[Math.max(0, last)] ?? model.from;
  return [...parts, ...(model.watches ?? []).map((watch) => describeWatch(watch, lastStart))].join(" ");
}

function describeWatch(watch: Watch, at: number): string {
  const { label, spans } = watch;
  const times = spans.length === 1 ? "once" : `${spans.length} times`;
  const breaching = breachText(watch, at);
  return `Alarm ${label}: ${spans.length === 0 ? "never" : times} in ALARM${breaching && `; breaches ${breaching}`}.`;
}

export function Chart({ model, title, onZoom, onCanvas }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(model);
  latest.current = model;
  const zoom = useRef(onZoom);
  zoom.current = onZoom;
  const [hover, setHover] = useState<Hover | null>(null);
  // What the cursor is on, so that it stays there when new data comes: a window chosen by key, or the pointer's place.
  const chosen = useRef<number | null>(null);
  const pointer = useRef<number | null>(null);
  const [focused, setFocused] = useState(false);
  const isDark = dark.value;
  const shownZone = zone.value;

  // uPlot is rebuilt when what it draws with changes; new values go into the one that is there.
  const structure = [model.kind, model.show, isDark, shownZone, model.series.length].join();

  const placeCursor = () => {
    const u = plot.current;
    if (!u) return;
    const { starts, windowMs } = latest.current;
    const start = chosen.current;
    let left = pointer.current ?? AWAY;
    if (start !== null) left = starts.includes(start) ? u.valToPos(start + windowMs / 2, "x") : AWAY;
    u.setCursor({ left, top: left < 0 ? AWAY : u.over.clientHeight / 2 });
  };

  useLayoutEffect(() => {
    const element = host.current!;
    const size = () => ({ width: element.clientWidth, height: element.clientHeight });
    const u = new uPlot(
      options(() => latest.current, chartColors(isDark), shownZone, size()),
      toData(latest.current),
      element,
    );
    u.hooks.setCursor = [
      () => {
        const { idx, left = -1 } = u.cursor;
        pointer.current = left < 0 ? null : left;
        setHover(idx === null || idx === undefined || left < 0 ? null : { index: idx, left: left + u.over.offsetLeft });
      },
    ];
    u.hooks.setSelect = [
      () => {
        const { left, width } = u.select;
        if (width > 4) zoom.current?.({ from: u.posToVal(left, "x"), to: u.posToVal(left + width, "x") });
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      },
    ];
    u.hooks.ready = [placeCursor]; // only then it has scales
    plot.current = u;
    onCanvas?.(u.ctx.canvas);
    const observer = new ResizeObserver(() => u.setSize(size()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [structure]);

  useEffect(() => {
    const u = plot.current;
    u?.batch(() => u.setData(toData(model))); // at once, so that the cursor finds the new scales
    if (chosen.current !== null) placeCursor();
  }, [model]);

  const move = (event: KeyboardEvent) => {
    const u = plot.current;
    const last = model.starts.length - 1;
    if (!u || last < 0) return;
    const at = hover ? hover.index : last + 1;
    const targets: Record<string, number | null> = {
      ArrowLeft: Math.max(0, at - 1),
      ArrowRight: Math.min(last, at + 1),
      Home: 0,
      End: last,
      Escape: null,
    };
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (target === null) leave();
    else {
      chosen.current = model.starts[target]!;
      placeCursor();
    }
  };
  const leave = () => {
    chosen.current = null;
    pointer.current = null;
    placeCursor();
  };

  return (
    <div
      class="chart"
      role="group"
      aria-roledescription="chart"
      aria-label={`${describe(model, title, shownZone)} Arrow keys read single windows.`}
      tabIndex={0}
      onKeyDown={move}
      onFocus={() => setFocused(true)}
      onBlur={() => {
        setFocused(false);
        leave();
      }}
      onPointerMove={() => (chosen.current = null)}
    >
      <div class="chart-canvas" ref={host} />
      {hover && hover.index < model.starts.length && (
        <Tooltip model={model} hover={hover} width={host.current?.clientWidth ?? 0} zone={shownZone} announce={focused} />
      )}
    </div>
  );
}

interface TooltipProps {
  model: ChartModel;
  hover: Hover;
  width: number;
  zone: Zone;
  announce: boolean;
}

const TOOLTIP_ROWS_MAX = 12;
const TOOLTIP_WATCHES_MAX = 3;

function Tooltip({ model, hover, width, zone, announce }: TooltipProps) {
  const { index, left } = hover;
  const open = index >= firstOpen(model);
  const rows = model.series.filter(({ values }) => values[index] !== null).slice(0, TOOLTIP_ROWS_MAX);
  const bounds = (model.watches ?? [])
    .map((watch) => ({ label: watch.label, text: breachText(watch, model.starts[index]!) }))
    .filter(({ text }) => text !== "")
    .slice(0, TOOLTIP_WATCHES_MAX);
  const toTheLeft = left > width / 2;
  const edge = toTheLeft ? { right: `${width - left + 14}px` } : { left: `${left + 14}px` };
  return (
    <div class="tooltip" style={edge} aria-live={announce ? "polite" : "off"}>
      <div class="tooltip-time">
        {formatWindow(model.starts[index]!, model.windowMs, zone)}
        {open && <span class="filling"> still filling</span>}
      </div>
      <table>
        <tbody>
          {rows.map(({ key, label, color, values, previous }) => (
            <tr key={key}>
              <th scope="row">
                <i class="swatch" style={{ background: color }} />
                <bdi>{label}</bdi>
              </th>
              <td>{formatValue(values[index], model.show)}</td>
              {previous && <td class="before">{formatValue(previous[index], model.show)}</td>}
            </tr>
          ))}
          {rows.length === 0 && (
            <tr>
              <th scope="row">no data</th>
            </tr>
          )}
          {bounds.map(({ label, text }) => (
            <tr key={label} class="bound">
              <th scope="row">
                <i class="swatch-bound" />
                <bdi>{label}</bdi>
              </th>
              <td>{text}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
