/** How an alarm is defined, in the words of the definition, and whom it tells. */

import type { ComponentChildren } from "preact";
import type { Alarm } from "../alarm-api";
import { alarmHref, alarms } from "../alarms";
import { GroupName } from "../components/group-name";
import { visible } from "../text";

const MISSING: Record<string, string> = {
  missing: "is left out; with none at all, the data is insufficient",
  ignore: "leaves the state as it is",
  breaching: "counts as breaching",
  notBreaching: "counts as not breaching",
};

export function Configuration({ alarm }: { alarm: Alarm }) {
  const facts: [string, ComponentChildren][] = [];
  const add = (name: string, value: ComponentChildren) => {
    if (value !== null && value !== undefined && value !== "") facts.push([name, value]);
  };
  add("counter", alarm.counter);
  add("system", alarm.system);
  add("when", alarm.when === null ? null : <Rule rule={alarm.when} />);
  add("measure", alarm.measure && visible(alarm.measure));
  add("window", alarm.window);
  add("group", alarm.group && <GroupName group={alarm.group} fields={Object.keys(alarm.group)} />);
  add("group_by", alarm.each ? "each" : null);
  add("comparison", alarm.comparison);
  add("threshold", alarm.threshold);
  add("clear_threshold", alarm.clear_threshold);
  add("threshold_percent", alarm.threshold_percent);
  add("clear_threshold_percent", alarm.clear_threshold_percent);
  add("baseline", alarm.baseline);
  add("band", alarm.band);
  add("clear_band", alarm.clear_band);
  add("weeks", alarm.weeks);
  add("evaluation_periods", alarm.evaluation_periods);
  add("datapoints_to_alarm", alarm.datapoints_to_alarm);
  add(
    "treat_missing_data",
    alarm.treat_missing_data && (
      <>
        {alarm.treat_missing_data} <span class="hint">a window without data {MISSING[alarm.treat_missing_data]}</span>
      </>
    ),
  );
  add("wait", alarm.wait);
  add("delay", alarm.delay);
  const { notify } = alarm;
  return (
    <section class="card" aria-label="Configuration">
      <header class="card-head">
        <h2>Configuration</h2>
        <p class="card-note">as in the definition</p>
      </header>
      <dl class="facts configuration">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
        <Told state="alarm" channels={notify.alarm} />
        <Told state="ok" channels={notify.ok} />
        <Told state="insufficient_data" channels={notify.insufficient_data} />
      </dl>
    </section>
  );
}

function Told({ state, channels }: { state: string; channels: readonly string[] }) {
  return (
    <div>
      <dt>notify.{state}</dt>
      <dd>{channels.length > 0 ? channels.join(", ") : <span class="hint">nobody</span>}</dd>
    </div>
  );
}

/** A rule over alarms, in which their names lead to them. */
export function Rule({ rule }: { rule: string }) {
  const names = new Set(alarms.value?.map(({ name }) => name));
  return (
    <code>
      {rule.split(/([\w-]+)/).map((part) => (names.has(part) ? <a href={alarmHref(part)}>{part}</a> : visible(part)))}
    </code>
  );
}
