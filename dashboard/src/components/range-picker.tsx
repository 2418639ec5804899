import { useState } from "preact/hooks";
import { formatDateTime, fromInputTime, toInputTime, zoneName } from "../format";
import { zone } from "../preferences";
import { DAY, formatRange, HOUR, MINUTE, parseRange, type Range, type Span } from "../time";
import { Popover } from "./controls";

const PRESETS: [Range, string][] = [
  [{ windows: 60 }, "Last 60 windows"],
  [{ lastMs: 15 * MINUTE }, "Last 15 minutes"],
  [{ lastMs: HOUR }, "Last hour"],
  [{ lastMs: 6 * HOUR }, "Last 6 hours"],
  [{ lastMs: DAY }, "Last 24 hours"],
  [{ lastMs: 7 * DAY }, "Last 7 days"],
  [{ lastMs: 30 * DAY }, "Last 30 days"],
  [{ lastMs: 90 * DAY }, "Last 90 days"],
  [{ lastMs: 365 * DAY }, "Last 365 days"],
];

/** Return a range in words. */
export function rangeName(range: Range): string {
  const preset = PRESETS.find(([choice]) => formatRange(choice) === formatRange(range));
  if (preset) return preset[1];
  if ("from" in range) return `${formatDateTime(range.from, zone.value)} – ${formatDateTime(range.to, zone.value)}`;
  return `Last ${"windows" in range ? `${range.windows} windows` : formatRange(range)}`;
}

interface RangePickerProps {
  range: Range;
  /** What is shown now: the custom fields begin with it. */
  span: Span;
  onChange: (range: Range) => void;
}

export function RangePicker({ range, span, onChange }: RangePickerProps) {
  return (
    <Popover label={`Range: ${rangeName(range)}`} summary={rangeName(range)}>
      {(close) => {
        const choose = (chosen: Range) => {
          onChange(chosen);
          close();
        };
        return (
          <div class="range-picker">
            <div class="range-presets">
              {PRESETS.map(([choice, name]) => (
                <button
                  key={name}
                  type="button"
                  aria-pressed={formatRange(choice) === formatRange(range)}
                  onClick={() => choose(choice)}
                >
                  {name}
                </button>
              ))}
            </div>
            <CustomRange span={span} onApply={choose} />
          </div>
        );
      }}
    </Popover>
  );
}

function CustomRange({ span, onApply }: { span: Span; onApply: (range: Range) => void }) {
  const [from, setFrom] = useState(toInputTime(span.from, zone.value));
  const [to, setTo] = useState(toInputTime(span.to, zone.value));
  const [problem, setProblem] = useState("");
  const apply = (event: Event) => {
    event.preventDefault();
    const chosen = parseRange(`${fromInputTime(from, zone.value) ?? ""}/${fromInputTime(to, zone.value) ?? ""}`);
    if (chosen) onApply(chosen);
    else setProblem("From must be a time before To.");
  };
  return (
    <form class="range-custom" onSubmit={apply}>
      <label>
        From
        <input type="datetime-local" step="1" required value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
      </label>
      <label>
        To
        <input type="datetime-local" step="1" required value={to} onInput={(event) => setTo(event.currentTarget.value)} />
      </label>
      <p class="hint">Times are {zoneName(zone.value)}.</p>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <button type="submit" class="primary">
        Apply
      </button>
    </form>
  );
}
