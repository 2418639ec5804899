import type { Group } from "../api";
import { groupText, type GroupValue, truncate, visible } from "../text";

const SHOWN_MAX = 120;

/** One group value, as harmless text: cut where it is long, in full in its title. */
export function GroupValueText({ value }: { value: GroupValue }) {
  if (value === null)
    return (
      <em class="null" title="the field is missing or null">
        NULL
      </em>
    );
  const text = groupText(value);
  const shown = truncate(text, SHOWN_MAX);
  return (
    <bdi class="value" title={typeof value === "string" ? visible(value) : text}>
      {shown}
    </bdi>
  );
}

interface GroupNameProps {
  group: Group;
  fields: readonly string[];
  other?: boolean | undefined;
}

/** A group by its values, or "other" for the rest, or "all" where nothing is kept apart. */
export function GroupName({ group, fields, other }: GroupNameProps) {
  if (other) return <span class="rest">other</span>;
  if (fields.length === 0) return <span class="rest">all</span>;
  return (
    <span class="group-name">
      {fields.map((field, index) => (
        <>
          {index > 0 && <span class="dot"> · </span>}
          <GroupValueText value={group[field] ?? null} />
        </>
      ))}
    </span>
  );
}

/** The same as one string, for canvas and accessible names. */
export function groupLabel({ group, fields, other }: GroupNameProps): string {
  if (other) return "other";
  if (fields.length === 0) return "all";
  return fields.map((field) => truncate(groupText(group[field] ?? null), SHOWN_MAX)).join(" · ");
}
