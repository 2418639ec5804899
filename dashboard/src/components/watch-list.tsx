import { alarmHref } from "../alarms";
import type { Watched } from "../chart/watch";
import { watchLabel } from "../watches";
import { StateMark } from "./alarm-state";

const SHOWN_MAX = 4;

/** The alarms that watch what a chart shows, each leading to its page. */
export function WatchList({ watched }: { watched: readonly Watched[] }) {
  if (watched.length === 0) return null;
  const more = watched.length - SHOWN_MAX;
  return (
    <ul class="watch-list" aria-label="Alarms on this chart">
      {watched.slice(0, SHOWN_MAX).map((one) => (
        <li key={watchLabel(one)}>
          <a href={alarmHref(one.alarm.name, one.status.key)} title={one.alarm.condition}>
            <StateMark state={one.status.state} hideWord />
            <bdi>{watchLabel(one)}</bdi>
          </a>
        </li>
      ))}
      {more > 0 && (
        <li>
          <a href="/alarms">{more} more</a>
        </li>
      )}
    </ul>
  );
}
