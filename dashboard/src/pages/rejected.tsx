/** Rejected: what could not be counted, with its bytes and the reason, and how to count it after all. */

import { useEffect, useState } from "preact/hooks";
import {
  api,
  ApiError,
  type Aws,
  type Definition,
  type RejectedEvent,
  rejectedExportUrl,
  type RejectedPage,
  type Retried,
} from "../api";
import { useCalm } from "../components/calm";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { useWrite } from "../components/write";
import { formatBytes, formatDateTime, formatNumber } from "../format";
import { feed } from "../live-query";
import { place } from "../location";
import { zone } from "../preferences";
import { readableBytes, truncate, visible } from "../text";

const PAGE = 50;
const REFRESH_MS = 1_000;
const PREVIEW_MAX = 600;
const WHOLE_MAX = 200_000;

function address(reason: string | null, before: number | string | null = null): string {
  const params = new URLSearchParams();
  if (reason !== null) params.set("reason", reason);
  if (before !== null) params.set("before", String(before));
  return params.size > 0 ? `/rejected?${params}` : "/rejected";
}

export function Rejected({ definition }: { definition: Definition }) {
  const { params } = place.value;
  const reason = params.get("reason");
  const before = params.get("before");
  const [page, setPage] = useState<RejectedPage | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [attempt, setAttempt] = useState(0);
  const [outcome, setOutcome] = useState<Retried | null>(null); // here, for it outlives the last rejected event
  const rejected = useCalm(feed.ledger.value?.rejected, REFRESH_MS); // a new one, or one mended: ask again
  const connection = feed.connections.value;

  useEffect(() => {
    let current = true;
    api.rejected(reason, before, PAGE).then(
      (answer) => {
        if (!current) return;
        setPage(answer);
        setError(null);
      },
      (problem) => {
        if (current && problem instanceof ApiError) setError(problem);
      },
    );
    return () => {
      current = false;
    };
  }, [reason, before, rejected, connection, attempt]);
  const reload = () => setAttempt((count) => count + 1);

  return (
    <>
      <div class="page-head">
        <h1>Rejected events</h1>
        {page && page.total > 0 && (
          <div class="actions">
            <a class="button" href={rejectedExportUrl("ndjson", reason)} download="rejected.ndjson">
              Download with reasons
            </a>
            <a class="button" href={rejectedExportUrl("raw", reason)} download="rejected.txt">
              Download bytes alone
            </a>
          </div>
        )}
      </div>
      {error && <ErrorNote error={error} onRetry={reload} />}
      {!page && !error && <Skeleton lines={8} label="Loading rejected events" />}
      {page && Object.keys(page.reasons).length === 0 && (
        <Empty title={outcome ? "No event is rejected any more" : "No event was rejected"}>
          {outcome && <RetryOutcome outcome={outcome} />}
          <p>
            What cannot be counted is kept here with its bytes and the reason, for 30 days at most, so nothing a producer sends
            is lost.
          </p>
        </Empty>
      )}
      {page && Object.keys(page.reasons).length > 0 && (
        <div class="rejected">
          <div class="rejected-side">
            <Reasons page={page} reason={reason} />
            {definition.aws ? (
              <MendOnAws aws={definition.aws} />
            ) : (
              <Mend reason={reason} outcome={outcome} onOutcome={setOutcome} onRetried={reload} />
            )}
          </div>
          <section class="rejected-list" aria-label="Rejected events">
            <ol>
              {page.events.map((event) => (
                <RejectedItem key={event.id} event={event} />
              ))}
            </ol>
            {page.events.length === 0 && (
              <Empty title="None here">{reason && <p>No event is rejected for {visible(reason)} any more.</p>}</Empty>
            )}
            <nav class="pager" aria-label="More rejected events">
              {before !== null && (
                <a class="button" href={address(reason)}>
                  Newest
                </a>
              )}
              {page.next !== null && (
                <a class="button" href={address(reason, page.next)}>
                  Older
                </a>
              )}
            </nav>
          </section>
        </div>
      )}
    </>
  );
}

function Reasons({ page, reason }: { page: RejectedPage; reason: string | null }) {
  const all = Object.values(page.reasons).reduce((sum, count) => sum + count, 0);
  const choices: [string | null, number][] = [[null, all], ...Object.entries(page.reasons).sort((a, b) => b[1] - a[1])];
  return (
    <nav class="card reasons" aria-label="Reasons">
      <ul>
        {choices.map(([code, count]) => (
          <li key={code}>
            <a href={address(code)} aria-current={code === reason ? "true" : undefined}>
              <span>{code === null ? "All reasons" : <code>{visible(code)}</code>}</span>
              <span class="number">{formatNumber(count)}</span>
              <i class="share-bar" style={{ width: `${(100 * count) / Math.max(1, all)}%` }} />
            </a>
          </li>
        ))}
      </ul>
      {page.newest !== null && (
        <p class="hint card-foot">
          of the newest {formatNumber(page.newest)}; the ledger on <a href="/health">Health</a> counts all
        </p>
      )}
    </nav>
  );
}

function RejectedItem({ event }: { event: RejectedEvent }) {
  const [whole, setWhole] = useState(false);
  const { text, bytes } = readableBytes(event.data, event.encoding);
  const shown = truncate(text, whole ? WHOLE_MAX : PREVIEW_MAX);
  return (
    <li class="card rejected-event">
      <header>
        <code class="reason">{visible(event.reason)}</code>
        <time dateTime={new Date(event.arrival).toISOString()}>{formatDateTime(event.arrival, zone.value, true)}</time>
        <span class="hint">
          shard {event.shard}, record{" "}
          {typeof event.sequence === "string" ? <code class="sequence">{event.sequence}</code> : formatNumber(event.sequence)},{" "}
          {formatBytes(bytes)}
          {event.encoding === "base64" && ", not UTF-8"}
        </span>
      </header>
      <p>{visible(event.message)}</p>
      <pre class="bytes" dir="ltr" tabIndex={0} aria-label="The bytes of the event">
        {shown}
      </pre>
      {text.length > PREVIEW_MAX && (
        <button type="button" class="more" onClick={() => setWhole(!whole)}>
          {whole ? "Show less" : "Show more"}
        </button>
      )}
    </li>
  );
}

/** On AWS nothing is judged again: what is mended goes into the stream as new. */
function MendOnAws({ aws }: { aws: Aws }) {
  return (
    <section class="card mend" aria-label="Count them after all">
      <h2>Count them after all</h2>
      <p>
        Events are not judged again on AWS. Mend the producer, download these, mend them, and send them to the stream once more:
      </p>
      <pre>
        <code>{`tally aws backfill mended.ndjson \\\n  --stack ${aws.stack} \\\n  --region ${aws.region}`}</code>
      </pre>
      <p class="hint">They stay in this list for 30 days, and in the ledger as rejected.</p>
    </section>
  );
}

/** How rejected events are counted after all, and the button that does it. */
type MendProps = {
  reason: string | null;
  outcome: Retried | null;
  onOutcome: (outcome: Retried | null) => void;
  onRetried: () => void;
};

function Mend({ reason, outcome, onOutcome, onRetried }: MendProps) {
  const write = useWrite();
  const retry = async (event: Event) => {
    event.preventDefault();
    onOutcome(null);
    const done = await write.run(async (token) => onOutcome(await api.retryRejected(reason, token)));
    if (done) onRetried();
  };

  return (
    <section class="card mend" aria-label="Count them after all">
      <h2>Count them after all</h2>
      <p>
        Mend the cause first: the producer, or the definition (a time under another name, say), then restart. A retry judges{" "}
        {reason === null ? (
          "every rejected event"
        ) : (
          <>
            each event rejected as <code>{visible(reason)}</code>
          </>
        )}{" "}
        again under the present definition; what is then valid is counted, once.
      </p>
      <pre>
        <code>{`tally rejected retry${reason === null ? "" : ` --reason ${visible(reason)}`}`}</code>
      </pre>
      <form onSubmit={(event) => void retry(event)}>
        {write.token}
        <button type="submit" class="primary" disabled={write.busy}>
          {write.busy ? "Judging again…" : "Retry now"}
        </button>
      </form>
      <div role="status">{outcome && <RetryOutcome outcome={outcome} />}</div>
      {write.problem}
    </section>
  );
}

function RetryOutcome({ outcome }: { outcome: Retried }) {
  return (
    <p class="outcome">
      {formatNumber(outcome.retried)} judged again: {formatNumber(outcome.counted)} counted, {formatNumber(outcome.unmatched)}{" "}
      unmatched, {formatNumber(outcome.late)} late, {formatNumber(outcome.duplicate)} duplicate,{" "}
      {formatNumber(outcome.rejected)} still rejected.
    </p>
  );
}
