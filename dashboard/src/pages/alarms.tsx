/** Alarms: what is in ALARM, since when, and whether somebody sees to it. */

import { useState } from "preact/hooks";
import type { Alarm, State } from "../alarm-api";
import { alarmHref, alarms, alarmsError, isAcknowledged, matches, reloadAlarms, sortAlarms, STATE_NAMES } from "../alarms";
import type { Definition } from "../api";
import { AlarmSparkline } from "../components/alarm-sparkline";
import { StateMark } from "../components/alarm-state";
import { CopyButton, Segmented } from "../components/controls";
import { GroupName } from "../components/group-name";
import { Empty, ErrorNote, Skeleton } from "../components/states";
import { formatDateTime, formatElapsed } from "../format";
import { feed, useWindowEnd } from "../live-query";
import { navigate, place, replaceParams } from "../location";
import { zone } from "../preferences";
import { truncate, visible } from "../text";
import { floorTo, MINUTE, parseDuration, SECOND } from "../time";
import { AlarmPage } from "./alarm";
import { MuteDialog } from "./alarm-dialogs";
import { AlarmHistory } from "./alarm-history";
import { Mutes, Notifications } from "./alarm-notifications";

const ROWS = 50;
const DESCRIPTION_MAX = 160;

export function Alarms({ definition }: { definition: Definition }) {
  const name = place.value.params.get("name");
  const list = alarms.value;
  const error = alarmsError.value;
  if (list && name !== null) {
    const alarm = list.find((one) => one.name === name);
    return alarm ? <AlarmPage key={name} alarm={alarm} /> : <NoSuchAlarm name={name} />;
  }
  return (
    <>
      {!list && (
        <div class="page-head">
          <h1>Alarms</h1>
        </div>
      )}
      {error && <ErrorNote error={error} onRetry={reloadAlarms} />}
      {!list && !error && <Skeleton lines={10} label="Loading alarms" />}
      {list && <AlarmList list={list} definition={definition} />}
    </>
  );
}

function NoSuchAlarm({ name }: { name: string }) {
  return (
    <>
      <Empty title="There is no such alarm">
        <p>
          The definition has no alarm <bdi>{truncate(visible(name), 64)}</bdi>. If it had, what happened is below.
        </p>
        <p>
          <a href="/alarms">To all alarms</a>
        </p>
      </Empty>
      <AlarmHistory alarm={name} />
    </>
  );
}

function AlarmList({ list, definition }: { list: readonly Alarm[]; definition: Definition }) {
  const [muting, setMuting] = useState(false);
  return (
    <>
      <div class="page-head">
        <h1>Alarms</h1>
        {list.length > 0 && (
          <button type="button" onClick={() => setMuting(true)}>
            Mute all…
          </button>
        )}
      </div>
      {list.length === 0 ? <NoAlarms definition={definition} /> : <FilteredAlarms list={list} />}
      <div class="alarms-side">
        <Mutes />
        <Notifications />
      </div>
      {list.length > 0 && <AlarmHistory alarm={null} />}
      {muting && <MuteDialog alarm={null} onClose={() => setMuting(false)} />}
    </>
  );
}

type StateFilter = State | "all";

function FilteredAlarms({ list }: { list: readonly Alarm[] }) {
  const { params } = place.value;
  const wanted = params.get("state") as StateFilter | null;
  const [text, setText] = useState(params.get("q") ?? "");
  const [all, setAll] = useState(false);

  const withText = (changes: Record<string, string>) => {
    const next = new URLSearchParams({ state: wanted ?? "", q: text, ...changes });
    for (const [name, value] of [...next]) if (!value) next.delete(name);
    return next;
  };
  const found = list.filter((alarm) => matches(alarm, text));
  const shown = sortAlarms(found.filter(({ state }) => wanted === null || state === wanted));
  const count = (state: State) => found.filter((alarm) => alarm.state === state).length;
  const states = ["ALARM", "INSUFFICIENT_DATA", "OK"] as const;
  return (
    <>
      <form class="alarm-filters" role="search" aria-label="Filter alarms" onSubmit={(event) => event.preventDefault()}>
        <Segmented<StateFilter>
          label="State"
          hideLabel
          value={wanted ?? "all"}
          choices={[
            ["all", `All ${found.length}`],
            ...states.map((state) => [state, `${STATE_NAMES[state]} ${count(state)}`] as const),
          ]}
          onChange={(state) => navigate("/alarms", withText({ state: state === "all" ? "" : state }))}
        />
        <input
          type="search"
          aria-label="Search alarms"
          placeholder="Name, condition, group"
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            replaceParams(withText({ q: event.currentTarget.value }));
          }}
        />
      </form>
      {shown.length === 0 && <Empty title="No alarm like that">{text && <p>None holds these words in this state.</p>}</Empty>}
      <ul class="alarm-list" aria-label="Alarms">
        {shown.slice(0, all ? undefined : ROWS).map((alarm) => (
          <AlarmRow key={alarm.name} alarm={alarm} />
        ))}
      </ul>
      {!all && shown.length > ROWS && (
        <button type="button" class="more" onClick={() => setAll(true)}>
          Show all {shown.length} alarms
        </button>
      )}
    </>
  );
}

function AlarmRow({ alarm }: { alarm: Alarm }) {
  const inAlarm = alarm.states.filter(({ state }) => state === "ALARM").length;
  return (
    <li class={`card alarm-row row-${alarm.state}`}>
      <div class="alarm-standing">
        <StateMark state={alarm.state} />
        {alarm.each && inAlarm > 0 && (
          <span class="hint">
            {alarm.states_truncated && inAlarm === alarm.states.length ? `${inAlarm} or more` : inAlarm} of {alarm.groups}{" "}
            groups
          </span>
        )}
        <Since since={alarm.since} />
      </div>
      <div class="alarm-what">
        <h2>
          <a href={alarmHref(alarm.name)}>
            <bdi>{alarm.name}</bdi>
          </a>
        </h2>
        <p class="condition">
          <Subject alarm={alarm} />
          <span>{visible(alarm.condition)}</span>
        </p>
        {alarm.description && <p class="hint">{truncate(visible(alarm.description), DESCRIPTION_MAX)}</p>}
        <Marks alarm={alarm} />
      </div>
      <AlarmSparkline alarm={alarm} />
    </li>
  );
}

/** What an alarm watches: a group, each group, or Tallystream itself. */
export function Subject({ alarm }: { alarm: Alarm }) {
  if (alarm.kind === "composite") return <span class="subject">rule</span>;
  if (alarm.kind === "system") return <span class="subject">Tallystream</span>;
  return (
    <span class="subject">
      <bdi>{alarm.counter}</bdi>
      {alarm.each && " · each group"}
      {alarm.group && (
        <>
          {" · "}
          <GroupName group={alarm.group} fields={Object.keys(alarm.group)} />
        </>
      )}
    </span>
  );
}

export function Since({ since }: { since: number | null }) {
  useWindowEnd(10 * SECOND); // how long it has been is told anew
  if (since === null) return <span class="hint">not evaluated yet</span>;
  return (
    <>
      <span class="hint">for {formatElapsed(feed.now() - since)}</span>
      <span class="hint">
        since <time dateTime={new Date(since).toISOString()}>{formatDateTime(floorTo(since, MINUTE), zone.value)}</time>
      </span>
    </>
  );
}

/** Who was told, so to speak: that it is muted, and that somebody sees to it. */
function Marks({ alarm }: { alarm: Alarm }) {
  if (!alarm.muted && !isAcknowledged(alarm)) return null;
  const by = alarm.states.find(({ acknowledged }) => acknowledged !== null)?.acknowledged?.by;
  return (
    <p class="marks">
      {alarm.muted && <span class="mark">Muted until {formatDateTime(alarm.muted.until, zone.value)}</span>}
      {isAcknowledged(alarm) && <span class="mark">Acknowledged{by && <> by {truncate(visible(by), 40)}</>}</span>}
    </p>
  );
}

function NoAlarms({ definition }: { definition: Definition }) {
  const [counter] = definition.counters;
  const example = [
    "[[alarm]]",
    'name = "too-few"',
    `counter = "${counter!.name}"`,
    `window = "${counter!.windows.find((window) => parseDuration(window)! % MINUTE === 0) ?? "1m"}"`,
    ...(counter!.group_by.length > 0 ? ['group_by = "each"'] : []),
    'comparison = "<"',
    "threshold = 5",
    "evaluation_periods = 3",
    "datapoints_to_alarm = 2",
  ].join("\n");
  return (
    <section class="card no-alarms">
      <Empty title="No alarm is defined">
        <p>An alarm watches a counter while nobody does, and tells people. Add one to the definition, and restart:</p>
        <figure class="command">
          <pre tabIndex={0} aria-label="An alarm, as the definition has it">
            <code>{example}</code>
          </pre>
          <CopyButton text={example} />
        </figure>
      </Empty>
    </section>
  );
}
