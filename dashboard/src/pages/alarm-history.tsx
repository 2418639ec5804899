/** What happened to an alarm, or to all: changes of state with what decided them, who was told, who did what. */

import { alarmApi, type Datapoint, type HistoryItem } from "../alarm-api";
import { alarmHref } from "../alarms";
import { useAnswer } from "../components/answer";
import { StateMark } from "../components/alarm-state";
import { useCalm } from "../components/calm";
import { GroupName } from "../components/group-name";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { formatDateTime, formatNumber } from "../format";
import { feed, useWindowEnd } from "../live-query";
import { place } from "../location";
import { zone } from "../preferences";
import { truncate, visible } from "../text";
import { SECOND } from "../time";

const ITEMS = 20;
const REFRESH_MS = 1_000;
const TEXT_MAX = 2_000;

const KINDS: Record<HistoryItem["kind"], string> = {
  StateUpdate: "State",
  ConfigurationUpdate: "Definition",
  Action: "Notification",
  Acknowledgement: "Acknowledged",
  Mute: "Mute",
};

/** Show a page of the history; null shows that of all alarms. The address holds which page. */
export function AlarmHistory({ alarm }: { alarm: string | null }) {
  const { params } = place.value;
  const before = params.has("before") ? Number(params.get("before")) : null;
  const version = useCalm(feed.alarmsVersion.value, REFRESH_MS);
  const tick = useWindowEnd(5 * SECOND); // that somebody was told changes no alarm, so nobody tells
  const { answer, error, reload } = useAnswer(JSON.stringify([alarm, before]), [version, tick, feed.connections.value], () =>
    alarmApi.history(alarm, before, ITEMS),
  );
  const href = (id: number | null) => {
    const next = new URLSearchParams(params);
    if (id === null) next.delete("before");
    else next.set("before", String(id));
    return `/alarms?${next}`;
  };
  return (
    <section class="card" aria-label="History">
      <header class="card-head">
        <h2>{alarm === null ? "What happened last" : "History"}</h2>
      </header>
      {error && <ErrorNote error={error} onRetry={reload} />}
      {!answer && !error && <Skeleton lines={5} label="Loading the history" />}
      {answer?.items.length === 0 && <Empty title={before === null ? "Nothing has happened yet" : "Nothing before that"} />}
      {answer && answer.items.length > 0 && (
        <ol class="history">
          {answer.items.map((item) => (
            <Item key={item.id} item={item} named={alarm === null} />
          ))}
        </ol>
      )}
      {answer && (before !== null || answer.next !== null) && (
        <nav class="pager" aria-label="More history">
          {before !== null && (
            <a class="button" href={href(null)}>
              Newest
            </a>
          )}
          {answer.next !== null && (
            <a class="button" href={href(answer.next)}>
              Older
            </a>
          )}
        </nav>
      )}
    </section>
  );
}

function Item({ item, named }: { item: HistoryItem; named: boolean }) {
  const { kind, new_state, summary, reason, datapoints } = item;
  const group = item.key ? item.group : null; // an alarm that watches one group has said so above
  return (
    <li>
      <time dateTime={new Date(item.at).toISOString()}>{formatDateTime(item.at, zone.value, true)}</time>
      <div class="history-kind">{new_state ? <StateMark state={new_state} /> : <span class="mark">{KINDS[kind]}</span>}</div>
      <div class="history-text">
        {(named || group) && (
          <p>
            {named && (item.alarm ? <a href={alarmHref(item.alarm, item.key)}>{item.alarm}</a> : "All alarms")}
            {named && group && " · "}
            {group && <GroupName group={group} fields={Object.keys(group)} />}
          </p>
        )}
        <p>{truncate(visible(reason ?? summary), TEXT_MAX)}</p>
        {datapoints.length > 0 && <Datapoints datapoints={datapoints} />}
      </div>
    </li>
  );
}

function Datapoints({ datapoints }: { datapoints: readonly Datapoint[] }) {
  return (
    <details>
      <summary>
        {datapoints.length} {datapoints.length === 1 ? "datapoint" : "datapoints"} decided it
      </summary>
      <div class="table-scroll" role="region" aria-label="Datapoints that decided it" tabIndex={0}>
        <table class="data">
          <thead>
            <tr>
              <th scope="col">window</th>
              <th scope="col" class="number">
                value
              </th>
              <th scope="col" class="number">
                bounds
              </th>
              <th scope="col">breaches</th>
            </tr>
          </thead>
          <tbody>
            {datapoints.map(({ at, value, filled, breaching, lower, upper }) => (
              <tr key={at}>
                <th scope="row">{formatDateTime(at, zone.value)}</th>
                <td class="number">{filled ? <span class="filling">missing</span> : formatNumber(value)}</td>
                <td class="number">{boundsText(lower, upper)}</td>
                <td>
                  {breaching ? "✗ yes" : "no"}
                  {filled && <span class="filling"> filled in</span>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function boundsText(lower: number | null, upper: number | null): string {
  if (lower !== null && upper !== null) return `${formatNumber(lower)} – ${formatNumber(upper)}`;
  return formatNumber(lower ?? upper);
}
