import { useEffect, useRef, useState } from "preact/hooks";
import type { Alarm, Step } from "../alarm-api";
import { alarmWindow, toWatch, useAlarmChart } from "../alarm-chart";
import { formatCompact } from "../format";
import { feed, useWindowEnd } from "../live-query";
import { SECOND } from "../time";

const WINDOWS = 30;
const PAUSE_MS = 3_000;
const WIDTH = 240;
const HEIGHT = 40;

/** Whether an element has been on the screen: what nobody scrolls to is not asked for. */
function useSeen(element: { current: Element | null }): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setSeen(true));
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, []);
  return seen;
}

/** The last periods of an alarm with its bounds and its time in ALARM; of one with many groups, those of the most urgent. */
export function AlarmSparkline({ alarm }: { alarm: Alarm }) {
  const element = useRef<HTMLDivElement>(null);
  const seen = useSeen(element);
  const windowMs = alarmWindow(alarm);
  const end = useWindowEnd(Math.max(windowMs, 10 * SECOND));
  const to = Math.ceil(end / windowMs) * windowMs;
  const [status] = alarm.states;
  const key = seen && status ? status.key : null;
  const { answer } = useAlarmChart(alarm, key, { from: to - WINDOWS * windowMs, to }, PAUSE_MS);
  if (!answer) {
    return (
      <div class="alarm-spark" ref={element}>
        {!status && <span class="hint">nothing to judge yet</span>}
      </div>
    );
  }

  const { spans, lower, upper } = toWatch(alarm, answer, status, feed.now());
  const values = answer.points.map(([, value]) => value ?? 0);
  const bounds = [...lower, ...upper].map(([, value]) => value ?? 0);
  const low = Math.min(0, ...values, ...bounds);
  const high = Math.max(low + 1e-12, ...values, ...bounds);
  const x = (ms: number) => (((ms - answer.from) / (answer.to - answer.from)) * WIDTH).toFixed(1);
  const y = (value: number) => (HEIGHT - 3 - ((value - low) / (high - low)) * (HEIGHT - 6)).toFixed(1);
  const line = (steps: readonly Step[]) =>
    steps
      .slice(0, -1)
      .map(([from, value], index) => (value === null ? "" : `M${x(from)} ${y(value)}H${x(steps[index + 1]![0])}`))
      .join("");
  const latest = answer.points.findLast(([at]) => at + windowMs <= feed.now());
  const isLast = latest !== undefined && latest[0] + 2 * windowMs > feed.now();
  return (
    <div class="alarm-spark" ref={element}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        {spans.map(({ from, to }) => (
          <rect
            key={from}
            class="in-alarm"
            x={x(from)}
            width={Math.max(1, Number(x(to)) - Number(x(from)))}
            y="0"
            height={HEIGHT}
          />
        ))}
        {alarm.window === null && <path class="ground" d={`M0 ${HEIGHT}H${WIDTH}`} />}
        <path class="bound" d={line(lower) + line(upper)} />
        <path
          class="values"
          d={answer.points
            .map(([at, value], index) => {
              const joined = answer.points[index - 1]?.[0] === at - windowMs;
              return `${joined ? "L" : "M"}${x(at)} ${y(value ?? 0)}H${x(at + windowMs)}`;
            })
            .join("")}
        />
      </svg>
      <span class="hint">
        {alarm.window === null
          ? "last hour"
          : isLast
            ? `${formatCompact(latest[1])} in the last full window`
            : "no datapoint in the last full window"}
      </span>
    </div>
  );
}
