/** What people do about an alarm: mute it, and say that they see to it. */

import { useState } from "preact/hooks";
import { type Alarm, alarmApi, type AlarmState } from "../alarm-api";
import { reloadAlarms } from "../alarms";
import { ApiError } from "../api";
import { Select } from "../components/controls";
import { Dialog } from "../components/dialog";
import { groupLabel } from "../components/group-name";
import { useWrite } from "../components/write";
import { fromInputTime, toInputTime, zoneName } from "../format";
import { feed } from "../live-query";
import { author, zone } from "../preferences";
import { HOUR } from "../time";

const DURATIONS: [string, string][] = [
  ["30m", "30 minutes"],
  ["1h", "1 hour"],
  ["2h", "2 hours"],
  ["8h", "8 hours"],
  ["1d", "1 day"],
  ["7d", "7 days"],
  ["", "until a time"],
];

interface MuteDialogProps {
  /** null: all alarms, with no choice. */
  alarm: Alarm | null;
  onClose: () => void;
}

export function MuteDialog({ alarm, onClose }: MuteDialogProps) {
  const [which, setWhich] = useState<"one" | "all">(alarm ? "one" : "all");
  const [duration, setDuration] = useState("2h");
  const [until, setUntil] = useState(() => toInputTime(feed.now() + HOUR, zone.value).slice(0, 16));
  const [note, setNote] = useState("");
  const write = useWrite();
  const mute = async (event: Event) => {
    event.preventDefault();
    const length = duration === "" ? { until: fromInputTime(until, zone.value) ?? 0 } : { for: duration };
    const body = { alarms: alarm && which === "one" ? [alarm.name] : [], by: author.value, note, ...length };
    if (!(await write.run((token) => alarmApi.mute(body, token)))) return;
    reloadAlarms();
    onClose();
  };
  return (
    <Dialog title={alarm ? <>Mute {alarm.name}</> : "Mute all alarms"} onClose={onClose}>
      <form class="dialog-form" onSubmit={(event) => void mute(event)}>
        <p class="hint">It goes on being evaluated, and nobody is told. What still stands at the end is told then.</p>
        {alarm && (
          <Select
            label="Which"
            value={which}
            onChange={setWhich}
            choices={[
              ["one", `only ${alarm.name}`],
              ["all", "all alarms"],
            ]}
          />
        )}
        <Select label="For" value={duration} onChange={setDuration} choices={DURATIONS} />
        {duration === "" && (
          <label>
            Until ({zoneName(zone.value)})
            <input type="datetime-local" required value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
          </label>
        )}
        <Author />
        <Note value={note} onInput={setNote} placeholder="Why: a deployment, say" />
        {write.token}
        {write.problem}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={write.busy}>
            Mute
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

interface AcknowledgeDialogProps {
  alarm: Alarm;
  /** The states in ALARM that it can be about; the first is offered. */
  states: readonly AlarmState[];
  onClose: () => void;
}

export function AcknowledgeDialog({ alarm, states, onClose }: AcknowledgeDialogProps) {
  const [offered] = useState(states); // those that were in ALARM when it was opened
  const [which, setWhich] = useState(offered[0]!.key);
  const [note, setNote] = useState("");
  const write = useWrite();
  const acknowledge = async (event: Event) => {
    event.preventDefault();
    const keys = which === ALL ? offered.map(({ key }) => key) : [which];
    const done = await write.run(async (token) => {
      for (const key of keys) {
        try {
          await alarmApi.acknowledge(alarm.name, { key, by: author.value, note }, token);
        } catch (error) {
          // Of several, some may be well again by now.
          if (keys.length === 1 || !(error instanceof ApiError && error.code === "not_in_alarm")) throw error;
        }
      }
    });
    if (!done) return;
    reloadAlarms();
    onClose();
  };
  return (
    <Dialog title={<>Acknowledge {alarm.name}</>} onClose={onClose}>
      <form class="dialog-form" onSubmit={(event) => void acknowledge(event)}>
        <p class="hint">Says that somebody takes care, until it is no longer in alarm.</p>
        {offered.length > 1 && (
          <Select
            label="Which group"
            value={which}
            onChange={setWhich}
            choices={[
              ...offered.map(
                ({ key, group }) => [key, groupLabel({ group: group ?? {}, fields: Object.keys(group ?? {}) })] as const,
              ),
              [ALL, `all ${offered.length} in alarm`] as const,
            ]}
          />
        )}
        <Author />
        <Note value={note} onInput={setNote} placeholder="What you found, what you do" />
        {write.token}
        {write.problem}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={write.busy}>
            Acknowledge
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** No key of a group: those are JSON lists. */
const ALL = "all";

function Author() {
  return (
    <label>
      Your name
      <input
        type="text"
        autoComplete="name"
        maxLength={200}
        value={author.value}
        onInput={(event) => (author.value = event.currentTarget.value)}
      />
    </label>
  );
}

function Note({ value, onInput, placeholder }: { value: string; onInput: (text: string) => void; placeholder: string }) {
  return (
    <label>
      Note
      <input
        type="text"
        maxLength={2_000}
        placeholder={placeholder}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </label>
  );
}

/** Ends a mute that somebody set. */
export function UnmuteButton({ id, label }: { id: number; label: string }) {
  const write = useWrite();
  const unmute = async (event: Event) => {
    event.preventDefault();
    if (await write.run((token) => alarmApi.unmute(id, token))) reloadAlarms();
  };
  return (
    <form class="unmute" onSubmit={(event) => void unmute(event)}>
      {write.token}
      <button type="submit" disabled={write.busy} aria-label={label}>
        Unmute
      </button>
      {write.problem}
    </form>
  );
}
