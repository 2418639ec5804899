/** Who is told, what could not be delivered, and what is muted. */

import { alarmApi, type Notifications as NotificationsAnswer } from "../alarm-api";
import { alarmHref } from "../alarms";
import { useAnswer } from "../components/answer";
import { useCalm } from "../components/calm";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { formatDateTime, formatNumber } from "../format";
import { feed, useWindowEnd } from "../live-query";
import { zone } from "../preferences";
import { truncate, visible } from "../text";
import { SECOND } from "../time";
import { UnmuteButton } from "./alarm-dialogs";

const REFRESH_MS = 1_000;
const ERROR_MAX = 500;

export function Notifications() {
  const version = useCalm(feed.alarmsVersion.value, REFRESH_MS);
  const tick = useWindowEnd(5 * SECOND); // a delivery that fails changes no alarm, so nobody tells
  const { answer, error, reload } = useAnswer("notifications", [version, tick, feed.connections.value], alarmApi.notifications);
  return (
    <section class="card" aria-label="Notifications">
      <header class="card-head">
        <h2>Notifications</h2>
        {answer && answer.undelivered.length === 0 && answer.channels.length > 0 && (
          <p class="verdict good">✓ Everything was delivered</p>
        )}
      </header>
      {error && <ErrorNote error={error} onRetry={reload} />}
      {!answer && !error && <Skeleton lines={3} label="Loading notifications" />}
      {answer && <Channels answer={answer} />}
      {answer && answer.undelivered.length > 0 && <Undelivered answer={answer} />}
    </section>
  );
}

function Channels({ answer }: { answer: NotificationsAnswer }) {
  if (answer.channels.length === 0) {
    return (
      <Empty title="Nobody is told">
        <p>
          The definition has no <code>[[notify]]</code>: a state changes on this page, and nowhere else.
        </p>
      </Empty>
    );
  }
  return (
    <dl class="facts">
      {answer.channels.map(({ name, type, waiting }) => (
        <div key={name}>
          <dt>
            <bdi>{name}</bdi> <span class="hint">{type}</span>
          </dt>
          <dd class={waiting > 0 ? "verdict bad" : ""}>
            {waiting > 0 ? `✗ ${formatNumber(waiting)} waiting` : "nothing waits"}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Undelivered({ answer }: { answer: NotificationsAnswer }) {
  return (
    <div class="undelivered">
      <h3>Not delivered</h3>
      <ol>
        {answer.undelivered.map(({ id, channel, created, attempts, error, given_up }) => (
          <li key={id}>
            <p>
              <strong>
                <bdi>{channel}</bdi>
              </strong>{" "}
              <time dateTime={new Date(created).toISOString()}>{formatDateTime(created, zone.value, true)}</time>
              <span class="hint">
                {" "}
                · {attempts} {attempts === 1 ? "attempt" : "attempts"} · {given_up ? "given up" : "is tried again"}
              </span>
            </p>
            <p>{truncate(visible(error), ERROR_MAX)}</p>
          </li>
        ))}
      </ol>
      <p class="hint">
        Try a channel: <code>tally notify test {answer.undelivered[0]!.channel}</code>
      </p>
    </div>
  );
}

/** Mutes that people set, and those of the definition; nothing where there are none. */
export function Mutes() {
  const version = useCalm(feed.alarmsVersion.value, REFRESH_MS);
  const tick = useWindowEnd(10 * SECOND); // they end by themselves
  const { answer, error, reload } = useAnswer("mutes", [version, tick, feed.connections.value], alarmApi.mutes);
  if (error) return <ErrorNote error={error} onRetry={reload} />;
  if (!answer || answer.mutes.length + answer.schedules.length === 0) return null;
  return (
    <section class="card" aria-label="Mutes">
      <header class="card-head">
        <h2>Mutes</h2>
      </header>
      <ul class="mutes">
        {answer.mutes.map(({ id, alarms, from, until, by, note }) => (
          <li key={id}>
            <div>
              <p>
                <MutedAlarms alarms={alarms} /> {from > feed.now() && <>from {formatDateTime(from, zone.value)} </>}
                until {formatDateTime(until, zone.value)}
              </p>
              {(by || note) && <p class="hint">{[by, note].filter(Boolean).map(visible).join(": ")}</p>}
            </div>
            <UnmuteButton id={id} label={`Unmute ${alarms.join(", ") || "all alarms"}`} />
          </li>
        ))}
        {answer.schedules.map(({ name, alarms, note, active, text }) => (
          <li key={name}>
            <div>
              <p>
                <MutedAlarms alarms={alarms} /> {visible(text)}
              </p>
              <p class="hint">
                {active ? "muted now, " : ""}by the schedule <bdi>{name}</bdi>
                {note && <>: {visible(note)}</>}
              </p>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}

function MutedAlarms({ alarms }: { alarms: readonly string[] }) {
  if (alarms.length === 0) return <strong>All alarms</strong>;
  return (
    <strong>
      {alarms.map((name, index) => (
        <>
          {index > 0 && ", "}
          <a href={alarmHref(name)}>{name}</a>
        </>
      ))}
    </strong>
  );
}
