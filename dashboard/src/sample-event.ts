/** A first event for those who have not sent any. */

import type { Definition } from "./api";

/** Put a value at a dotted path: ("data.time", t) → {data: {time: t}}. */
function nest(target: Record<string, unknown>, path: string, value: unknown): void {
  const [head, ...rest] = path.split(".");
  if (head === undefined) return;
  if (rest.length === 0) {
    target[head] = value;
    return;
  }
  const inner = (target[head] ??= {}) as Record<string, unknown>;
  nest(inner, rest.join("."), value);
}

/** Return an event that the definition can count: its time field, and a value for each group of its first counter. */
export function sampleEvent(definition: Definition, now: number): Record<string, unknown> {
  const event: Record<string, unknown> = {};
  nest(event, definition.stream.event_time, new Date(now).toISOString());
  for (const field of definition.counters[0]?.group_by ?? [])
    nest(event, field, field.split(".").at(-1) === "event" ? "page view" : "example");
  return event;
}
