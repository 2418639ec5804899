/** Health: whether everything that came in is accounted for, and whether counting keeps up. */

import { useEffect, useMemo, useState } from "preact/hooks";
import {
  api,
  ApiError,
  type Aws,
  type Definition,
  type Health as HealthAnswer,
  type Ledger,
  OUTCOMES,
  type Outcome,
} from "../api";
import { Chart } from "../chart/chart";
import type { ChartModel } from "../chart/model";
import { chartColors } from "../color";
import { ErrorNote, Skeleton } from "../components/states";
import { formatBytes, formatDateTime, formatElapsed, formatNumber, formatPercent, zoneName } from "../format";
import { feed } from "../live-query";
import { dark, zone } from "../preferences";
import { align } from "../series";
import { visible } from "../text";
import { MINUTE, windowEnd, windowStarts } from "../time";

const REFRESH_MS = 2_000;
const REFRESH_AWS_MS = 5_000; // there, asking costs
const THROUGHPUT_WINDOWS = 60;

const MEANING: Record<Outcome, string> = {
  counted: "in at least one counter",
  unmatched: "valid, but no counter wanted it",
  late: "older on arrival than allowed_lateness",
  rejected: "kept with its bytes and the reason",
  duplicate: "its event_id had been counted",
};

/** Ask for the health every few seconds while the page is open. */
function useHealth(refreshMs: number): { health: HealthAnswer | null; error: ApiError | null; reload: () => void } {
  const [health, setHealth] = useState<HealthAnswer | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [attempt, setAttempt] = useState(0);
  const connection = feed.connections.value;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let current = true;
    const ask = async () => {
      try {
        const answer = await api.health();
        if (!current) return;
        setHealth(answer);
        setError(null);
      } catch (problem) {
        if (!(problem instanceof ApiError)) throw problem;
        if (current) setError(problem);
      }
      if (current) timer = setTimeout(() => void ask(), refreshMs);
    };
    void ask();
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [connection, attempt]);
  return { health, error, reload: () => setAttempt((count) => count + 1) };
}

export function Health({ definition }: { definition: Definition }) {
  const { health, error, reload } = useHealth(definition.aws ? REFRESH_AWS_MS : REFRESH_MS);
  return (
    <>
      <div class="page-head">
        <h1>Health</h1>
        {health && (
          <p class="card-note">
            Tallystream {health.version}, up {formatElapsed(health.now - health.started)}
          </p>
        )}
      </div>
      {error && <ErrorNote error={error} onRetry={reload} />}
      {!health && !error && <Skeleton lines={10} label="Loading health" />}
      {health && (
        <div class="health">
          <LedgerEquation ledger={feed.ledger.value ?? health.ledger} aws={definition.aws} />
          {health.throughput && <Throughput now={health.now} throughput={health.throughput} />}
          {definition.aws ? <CloudShards health={health} aws={definition.aws} /> : <Shards health={health} />}
          {health.disk && <Disk disk={health.disk} />}
          <Generations definition={definition} />
        </div>
      )}
    </>
  );
}

function LedgerEquation({ ledger, aws }: { ledger: Ledger; aws: Aws | null }) {
  const verify = aws ? `tally verify --aws --stack ${aws.stack} --region ${aws.region}` : "tally verify";
  const sum = OUTCOMES.reduce((total, outcome) => total + ledger[outcome], 0);
  const balanced = sum === ledger.received;
  return (
    <section class="card" aria-label="Ledger">
      <header class="card-head">
        <h2>Ledger</h2>
        <p class={`verdict ${balanced ? "good" : "bad"}`} role="status">
          {balanced ? "✓ Every event is accounted for" : `✗ Off by ${formatNumber(ledger.received - sum)}: run ${verify}`}
        </p>
      </header>
      <dl class="equation">
        <div class="term term-received">
          <dt>received</dt>
          <dd class="figure">{formatNumber(ledger.received)}</dd>
        </div>
        {OUTCOMES.map((outcome, index) => (
          <div class={ledger[outcome] === 0 ? "term zero" : "term"} key={outcome}>
            <span class="operator" aria-hidden="true">
              {index === 0 ? "=" : "+"}
            </span>
            <dt>{outcome === "rejected" ? <a href="/rejected">rejected</a> : outcome}</dt>
            <dd class="figure">{formatNumber(ledger[outcome])}</dd>
            <dd class="hint">{MEANING[outcome]}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Throughput({ now, throughput }: { now: number; throughput: NonNullable<HealthAnswer["throughput"]> }) {
  const isDark = dark.value;
  const model = useMemo((): ChartModel => {
    const to = windowEnd(now, MINUTE);
    const span = { from: to - THROUGHPUT_WINDOWS * MINUTE, to };
    const starts = windowStarts(span, MINUTE);
    const colors = chartColors(isDark);
    const shades: Record<Outcome, string> = {
      counted: colors.groups[0]!,
      unmatched: colors.rest,
      late: colors.groups[5]!,
      rejected: colors.groups[3]!,
      duplicate: colors.groups[4]!,
    };
    const column = (index: number) =>
      align(
        throughput.map((row) => [row[0], row[index + 2] ?? 0]),
        starts,
        0,
      );
    const series = OUTCOMES.map((outcome, index) => ({
      key: outcome,
      label: outcome,
      color: shades[outcome],
      values: column(index),
    }));
    return {
      ...span,
      kind: "bars",
      show: "value",
      windowMs: MINUTE,
      starts,
      completeUntil: to - MINUTE,
      fromZero: true,
      series: series.filter(({ key, values }) => key === "counted" || values.some((value) => value)),
    };
  }, [now, throughput, isDark]);
  const perMinute = model.starts.map((_, index) => model.series.reduce((sum, { values }) => sum + (values[index] ?? 0), 0));
  const lastFull = perMinute.at(-2) ?? 0;
  return (
    <section class="card wide" aria-label="Throughput">
      <header class="card-head">
        <h2>Throughput</h2>
        <p class="card-note">
          events a minute, by arrival · last full minute {formatNumber(lastFull)}, {formatNumber(Math.round(lastFull / 6) / 10)}
          /s
        </p>
      </header>
      <div class="throughput-chart">
        <Chart model={model} title="Events per minute by outcome" />
      </div>
      <ul class="legend" aria-label="Legend">
        {model.series.map(({ key, label, color }) => (
          <li key={key}>
            <i class="swatch" style={{ background: color }} />
            {label}
          </li>
        ))}
        <li class="legend-note">
          <i class="swatch-open" />
          still filling
        </li>
      </ul>
    </section>
  );
}

function Shards({ health }: { health: HealthAnswer }) {
  const backlog = health.shards.reduce((sum, shard) => sum + (shard.lag_events ?? 0), 0);
  const backlogMax = health.backlog_events_max ?? 0;
  const fill = backlog / Math.max(1, backlogMax);
  return (
    <section class="card" aria-label="Shards">
      <header class="card-head">
        <h2>Counting</h2>
        <p class="card-note">{backlog === 0 ? "nothing waiting" : `${formatNumber(backlog)} waiting`}</p>
      </header>
      <Meter
        label={`Backlog: ${formatPercent(fill)} of ${formatNumber(backlogMax)}, from where on producers are asked to wait`}
        value={fill}
      />
      <div class="table-scroll">
        <table class="data">
          <caption class="sr-only">Lag by shard</caption>
          <thead>
            <tr>
              <th scope="col">shard</th>
              <th scope="col" class="number">
                stored
              </th>
              <th scope="col" class="number">
                counted
              </th>
              <th scope="col" class="number">
                waiting
              </th>
              <th scope="col" class="number">
                behind
              </th>
            </tr>
          </thead>
          <tbody>
            {health.shards.map((shard) => (
              <tr key={shard.shard}>
                <th scope="row">{shard.shard}</th>
                <td class="number">{formatNumber(shard.next_sequence)}</td>
                <td class="number">{formatNumber(shard.counted_sequence)}</td>
                <td class="number">{formatNumber(shard.lag_events)}</td>
                <td class="number">{shard.lag_events === 0 ? "–" : formatElapsed(shard.lag_ms ?? 0)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** How far a stack's count function is. Kinesis does not say how many records wait, but how old the oldest of them is. */
function CloudShards({ health, aws }: { health: HealthAnswer; aws: Aws }) {
  const behind = Math.max(0, ...health.shards.map((shard) => shard.lag_ms ?? 0));
  const known = health.shards.every((shard) => shard.lag_ms !== null);
  return (
    <section class="card wide" aria-label="Shards">
      <header class="card-head">
        <h2>Counting</h2>
        <p class="card-note">{!known ? "" : behind === 0 ? "nothing waiting" : `${formatElapsed(behind)} behind`}</p>
      </header>
      {health.warnings.map((warning) => (
        <p key={warning} class="hint card-foot">
          {visible(warning)}
        </p>
      ))}
      <div class="table-scroll">
        <table class="data">
          <caption class="sr-only">How far each shard of the stream is counted</caption>
          <thead>
            <tr>
              <th scope="col">shard</th>
              <th scope="col" class="number">
                counted
              </th>
              <th scope="col" class="number">
                behind
              </th>
            </tr>
          </thead>
          <tbody>
            {health.shards.map((shard) => (
              <tr key={shard.shard}>
                <th scope="row">{shard.shard}</th>
                <td class="number">{formatNumber(shard.counted_sequence)}</td>
                <td class="number">
                  {shard.lag_ms === null ? "not known" : shard.lag_ms === 0 ? "–" : formatElapsed(shard.lag_ms)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="hint card-foot">
        The stack <bdi>{aws.stack}</bdi> in {aws.region} counts. How many events come, and how its functions fare, is{" "}
        <a href={`${aws.console}#dashboards:name=${encodeURIComponent(aws.stack)}`} rel="noreferrer" target="_blank">
          in CloudWatch
        </a>
        .
      </p>
    </section>
  );
}

function Meter({ label, value }: { label: string; value: number }) {
  const percent = Math.min(100, 100 * value);
  return (
    <div
      class="meter"
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
    >
      <div>
        <i class={value > 0.8 ? "full" : ""} style={{ width: `${percent}%` }} />
      </div>
      <p class="hint">{label}</p>
    </div>
  );
}

function Disk({ disk }: { disk: NonNullable<HealthAnswer["disk"]> }) {
  const used = disk.stream_bytes + disk.counters_bytes;
  return (
    <section class="card" aria-label="Disk">
      <header class="card-head">
        <h2>Disk</h2>
        <p class="card-note">
          {formatBytes(used)} used, {formatBytes(disk.free_bytes)} free
        </p>
      </header>
      <Meter
        label={`${formatPercent(used / Math.max(1, used + disk.free_bytes))} of what this disk could give`}
        value={used / Math.max(1, used + disk.free_bytes)}
      />
      <dl class="facts">
        <div>
          <dt>stream.db, events as they came</dt>
          <dd>{formatBytes(disk.stream_bytes)}</dd>
        </div>
        <div>
          <dt>counters.db, counts and rejected events</dt>
          <dd>{formatBytes(disk.counters_bytes)}</dd>
        </div>
        <div>
          <dt>free</dt>
          <dd>{formatBytes(disk.free_bytes)}</dd>
        </div>
      </dl>
    </section>
  );
}

function Generations({ definition }: { definition: Definition }) {
  return (
    <section class="card wide" aria-label="Counters">
      <header class="card-head">
        <h2>Counters</h2>
        <p class="card-note">
          A counter whose meaning changes begins a new generation; old counts stay apart. Times are {zoneName(zone.value)}.
        </p>
      </header>
      <div class="table-scroll" role="region" aria-label="Counters of the definition" tabIndex={0}>
        <table class="data">
          <thead>
            <tr>
              <th scope="col">counter</th>
              <th scope="col" class="number">
                generation
              </th>
              <th scope="col">since</th>
              <th scope="col">group by</th>
              <th scope="col">where</th>
              <th scope="col">windows</th>
              <th scope="col">measures</th>
              <th scope="col">keep</th>
            </tr>
          </thead>
          <tbody>
            {definition.counters.map((counter) => (
              <tr key={counter.name}>
                <th scope="row">
                  <a href={`/explore?${new URLSearchParams({ counter: counter.name })}`}>
                    <bdi>{counter.name}</bdi>
                  </a>
                </th>
                <td class="number">{counter.generation}</td>
                <td>{counter.since === null ? "–" : formatDateTime(counter.since, zone.value)}</td>
                <td class="wrap">{counter.group_by.map(visible).join(", ") || "–"}</td>
                <td class="wrap">{counter.where === null ? "every event" : <code>{visible(counter.where)}</code>}</td>
                <td class="wrap">{counter.windows.join(", ")}</td>
                <td class="wrap">{counter.measures.map(visible).join(", ")}</td>
                <td>{counter.keep ?? "for ever"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
