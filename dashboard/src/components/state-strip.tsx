import { formatDateTime } from "../format";
import { zone } from "../preferences";
import type { Span } from "../time";

interface StateStripProps {
  name: string;
  span: Span;
  /** When it was in ALARM. */
  spans: readonly Span[];
}

/** When an alarm was in ALARM, where there are no datapoints to draw. */
export function StateStrip({ name, span, spans }: StateStripProps) {
  const part = (ms: number) => `${((100 * ms) / (span.to - span.from)).toFixed(3)}%`;
  const times = spans.length === 0 ? "never" : spans.length === 1 ? "once" : `${spans.length} times`;
  return (
    <figure class="state-strip">
      <div role="img" aria-label={`${name}: ${times} in alarm`}>
        {spans.map(({ from, to }) => (
          <i key={from} style={{ left: part(from - span.from), width: part(to - from) }} />
        ))}
      </div>
      <figcaption>
        <span>{formatDateTime(span.from, zone.value)}</span>
        <span>{times} in alarm</span>
        <span>{formatDateTime(span.to, zone.value)}</span>
      </figcaption>
    </figure>
  );
}
