import { formatChange } from "../format";

interface ChangeProps {
  change: number | null;
  /** What the number is compared with, for the title. */
  previous: string;
}

/** A change against the period before: an arrow and a percentage, never color alone. */
export function ChangeMark({ change, previous }: ChangeProps) {
  if (change === null)
    return (
      <span class="change" title={`${previous} in the period before`}>
        –
      </span>
    );
  const direction = change > 0.0005 ? "up" : change < -0.0005 ? "down" : "flat";
  const arrow = { up: "↑", down: "↓", flat: "→" }[direction];
  return (
    <span class={`change ${direction}`} title={`${previous} in the period before; complete windows are compared`}>
      <span aria-hidden="true">{arrow} </span>
      {formatChange(direction === "flat" ? 0 : change)}
    </span>
  );
}
