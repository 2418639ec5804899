interface SparklineProps {
  values: readonly (number | null)[];
  previous?: readonly (number | null)[];
  /** How many of the values are of complete windows; the rest is drawn dashed. */
  complete: number;
}

const WIDTH = 240;
const HEIGHT = 40;

function path(values: readonly (number | null)[], from: number, to: number, high: number): string {
  const last = Math.max(1, values.length - 1);
  let drawing = false;
  let commands = "";
  for (let index = from; index <= to; index++) {
    const value = values[index] ?? null;
    if (value === null) {
      drawing = false;
      continue;
    }
    const x = ((index / last) * WIDTH).toFixed(1);
    const y = (HEIGHT - 2 - (Math.max(0, value) / high) * (HEIGHT - 4)).toFixed(1);
    commands += `${drawing ? "L" : "M"}${x} ${y}`;
    drawing = true;
  }
  return commands;
}

/** A line without axes: the shape of the period, over that of the period before. The numbers stand next to it. */
export function Sparkline({ values, previous = [], complete }: SparklineProps) {
  const high = Math.max(1e-12, ...values.map((value) => value ?? 0), ...previous.map((value) => value ?? 0));
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="sparkline-previous" d={path(previous, 0, previous.length - 1, high)} />
      <path class="sparkline-now" d={path(values, 0, complete - 1, high)} />
      <path class="sparkline-open" d={path(values, Math.max(0, complete - 1), values.length - 1, high)} />
    </svg>
  );
}
