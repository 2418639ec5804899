/** Alarms where a stack on AWS counts: CloudWatch has them, and notifies; this page shows how they stand. */

import { useEffect, useState } from "preact/hooks";
import type { State } from "../alarm-api";
import { api, ApiError, type Aws, type CloudAlarm } from "../api";
import { StateMark } from "../components/alarm-state";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { formatDateTime, formatElapsed } from "../format";
import { feed } from "../live-query";
import { zone } from "../preferences";
import { truncate, visible } from "../text";

const REFRESH_MS = 30_000;
const REASON_MAX = 240;

export function CloudAlarms({ aws }: { aws: Aws }) {
  const [answer, setAnswer] = useState<{ alarms: CloudAlarm[] | null } | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [attempt, setAttempt] = useState(0);
  const connection = feed.connections.value;

  useEffect(() => {
    let current = true;
    const ask = () =>
      api.cloudAlarms().then(
        (found) => {
          if (!current) return;
          setAnswer(found);
          setError(null);
        },
        (problem) => {
          if (current && problem instanceof ApiError) setError(problem);
        },
      );
    void ask();
    const timer = setInterval(() => void ask(), REFRESH_MS);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [connection, attempt]);

  const alarms = answer?.alarms;
  const href = `${aws.console}#alarmsV2:?search=${encodeURIComponent(`${aws.stack}/`)}`;
  return (
    <>
      <div class="page-head">
        <h1>Alarms</h1>
        <a class="button" href={href} rel="noreferrer" target="_blank">
          Open CloudWatch
        </a>
      </div>
      <p class="card-note cloud-note">
        CloudWatch has the alarms of the stack <bdi>{aws.stack}</bdi> in {aws.region}, and tells people of them through SNS.
        Mute them, and see what happened, there.
      </p>
      {error && <ErrorNote error={error} onRetry={() => setAttempt((count) => count + 1)} />}
      {!answer && !error && <Skeleton lines={8} label="Loading alarms" />}
      {alarms?.length === 0 && (
        <Empty title="The stack has no alarm">
          <p>
            Add an <code>[[alarm]]</code> to the definition, and deploy it.
          </p>
        </Empty>
      )}
      {alarms && alarms.length > 0 && (
        <ul class="alarm-list" aria-label="Alarms">
          {alarms.map((alarm) => (
            <CloudAlarmRow key={alarm.name} alarm={alarm} />
          ))}
        </ul>
      )}
    </>
  );
}

function CloudAlarmRow({ alarm }: { alarm: CloudAlarm }) {
  return (
    <li class={`card alarm-row row-${alarm.state}`}>
      <div class="alarm-standing">
        <StateMark state={alarm.state as State} />
        <span class="hint">for {formatElapsed(feed.now() - alarm.since)}</span>
        <span class="hint">
          since <time dateTime={new Date(alarm.since).toISOString()}>{formatDateTime(alarm.since, zone.value)}</time>
        </span>
      </div>
      <div class="alarm-what">
        <h2>
          <bdi>{visible(alarm.name)}</bdi>
        </h2>
        {alarm.reason && <p class="hint">{truncate(visible(alarm.reason), REASON_MAX)}</p>}
      </div>
    </li>
  );
}
