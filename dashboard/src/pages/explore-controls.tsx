/** The questions that Explore can ask, as native form controls. */

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { api, type CounterInfo, type Definition, type Filter, type GroupValue, type Show } from "../api";
import { Checkbox, Popover, Select } from "../components/controls";
import { GroupValueText } from "../components/group-name";
import { RangePicker } from "../components/range-picker";
import { type ExploreState, SHOWS, TOPS, usableWindows, windowOf, withCounter } from "../explore-state";
import { groupText, visible } from "../text";
import { formatDuration, parseDuration, type Span } from "../time";

interface ControlsProps {
  definition: Definition;
  state: ExploreState;
  span: Span;
  onChange: (changes: Partial<ExploreState>) => void;
}

const SLIDING = [2, 3, 5, 10, 15, 30, 60];

export function ExploreControls({ definition, state, span, onChange }: ControlsProps) {
  const { counter } = state;
  const windowMs = windowOf(state);
  const windows = usableWindows(state);
  const slides = [
    ...new Set([...SLIDING.map((factor) => factor * windowMs), ...(state.overMs === null ? [] : [state.overMs])]),
  ];
  const tops = [...new Set([...TOPS, state.top])].sort((a, b) => a - b);
  const setFilters = (field: string, values: GroupValue[]) =>
    onChange({
      filters: [...state.filters.filter((filter) => filter.field !== field), ...values.map((value) => ({ field, value }))],
    });

  return (
    <form class="card controls" aria-label="Question" onSubmit={(event) => event.preventDefault()}>
      <Select
        label="Counter"
        value={counter.name}
        choices={definition.counters.map(({ name }) => [name, name])}
        onChange={(name) =>
          onChange(
            withCounter(
              state,
              definition.counters.find((choice) => choice.name === name)!,
            ),
          )
        }
      />
      <Select
        label="Measure"
        value={state.measure}
        choices={counter.measures.map((name) => [name, visible(name)])}
        onChange={(measure) => onChange({ measure })}
      />
      <div class="field">
        <span class="label">Range</span>
        <RangePicker range={state.range} span={span} onChange={(range) => onChange({ range, windowMs: null, overMs: null })} />
      </div>
      <Select
        label="Window"
        value={state.windowMs === null ? "" : formatDuration(state.windowMs)}
        choices={[
          ["", `automatic (${formatDuration(windowMs)})`],
          ...windows.map((size) => [formatDuration(size), formatDuration(size)] as const),
        ]}
        onChange={(text) => onChange({ windowMs: parseDuration(text), overMs: null })}
      />
      <Select
        label="Each point covers"
        value={state.overMs === null ? "" : formatDuration(state.overMs)}
        choices={[
          ["", "its window"],
          ...slides.map((size) => [formatDuration(size), `the last ${formatDuration(size)} (sliding)`] as const),
        ]}
        onChange={(text) => onChange({ overMs: parseDuration(text) })}
      />
      <Select
        label="Show"
        value={state.show}
        choices={Object.entries(SHOWS) as [Show, string][]}
        onChange={(show) => onChange({ show, ...(show === "change" && { chart: "line" as const }) })}
      />
      {counter.group_by.length > 0 && (
        <>
          <fieldset class="field">
            <legend class="label">Keep apart</legend>
            {counter.group_by.map((field) => (
              <Checkbox
                key={field}
                label={<bdi>{visible(field)}</bdi>}
                checked={state.by.includes(field)}
                onChange={(on) =>
                  onChange({ by: counter.group_by.filter((name) => (name === field ? on : state.by.includes(name))) })
                }
              />
            ))}
          </fieldset>
          {counter.group_by.map((field) => (
            <GroupFilter
              key={`${counter.name} ${field}`}
              counter={counter}
              field={field}
              filters={state.filters}
              onChange={(values) => setFilters(field, values)}
            />
          ))}
          <Select
            label="Groups shown"
            value={String(state.top)}
            choices={tops.map((top) => [String(top), `the ${top} largest`])}
            onChange={(top) => onChange({ top: Number(top) })}
          />
          <Checkbox label="Add up the rest as “other”" checked={state.other} onChange={(other) => onChange({ other })} />
        </>
      )}
      <Checkbox label="Compare with the period before" checked={state.compare} onChange={(compare) => onChange({ compare })} />
    </form>
  );
}

interface GroupFilterProps {
  counter: CounterInfo;
  field: string;
  filters: Filter[];
  onChange: (values: GroupValue[]) => void;
}

const VALUES_MAX = 50;

function GroupFilter({ counter, field, filters, onChange }: GroupFilterProps) {
  const chosen = filters.filter((filter) => filter.field === field).map(({ value }) => value);
  const summary = chosen.length === 0 ? "any value" : `${chosen.length} chosen`;
  return (
    <div class="field">
      <span class="label">
        Only <bdi>{visible(field)}</bdi>
      </span>
      <Popover label={`Filter ${visible(field)}: ${summary}`} summary={summary}>
        {() => <ValueChoices counter={counter} field={field} chosen={chosen} onChange={onChange} />}
      </Popover>
      {chosen.length > 0 && (
        <ul class="chips">
          {chosen.map((value) => (
            <li key={JSON.stringify(value)}>
              <GroupValueText value={value} />
              <button
                type="button"
                aria-label={`Remove the filter ${groupText(value)}`}
                onClick={() => onChange(chosen.filter((other) => other !== value))}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

interface ValueChoicesProps {
  counter: CounterInfo;
  field: string;
  chosen: GroupValue[];
  onChange: (values: GroupValue[]) => void;
}

function ValueChoices({ counter, field, chosen, onChange }: ValueChoicesProps) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [search, setSearch] = useState("");
  const [values, setValues] = useState<GroupValue[] | null>(null);

  useEffect(() => input.current?.focus(), []);

  useEffect(() => {
    const abort = new AbortController();
    // A short pause: a word that is being typed is asked for once.
    const timer = setTimeout(
      () => {
        api.groups(counter.name, field, search, VALUES_MAX, abort.signal).then(
          (answer) => setValues(answer.values),
          () => !abort.signal.aborted && setValues([]),
        );
      },
      search ? 150 : 0,
    );
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [counter.name, field, search]);

  return (
    <div class="value-choices">
      <label for={id} class="sr-only">
        Search values of {visible(field)}
      </label>
      <input
        id={id}
        type="search"
        placeholder="Search values"
        value={search}
        ref={input}
        onInput={(event) => setSearch(event.currentTarget.value)}
      />
      <div class="value-list" role="group" aria-label={`Values of ${visible(field)}`}>
        {values === null && <p class="hint">Loading…</p>}
        {values?.length === 0 && <p class="hint">{search ? "No value holds this text." : "No values yet."}</p>}
        {values?.map((value) => (
          <Checkbox
            key={JSON.stringify(value)}
            label={<GroupValueText value={value} />}
            checked={chosen.includes(value)}
            onChange={(on) => onChange(on ? [...chosen, value] : chosen.filter((other) => other !== value))}
          />
        ))}
      </div>
      {values?.length === VALUES_MAX && <p class="hint">The first {VALUES_MAX}; search for others.</p>}
    </div>
  );
}
