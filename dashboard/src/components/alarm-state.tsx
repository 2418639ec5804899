import type { State } from "../alarm-api";
import { STATE_NAMES } from "../alarms";

const SHAPES: Record<State, string> = {
  ALARM: "M8 1.2 15.4 14.4H.6Z",
  OK: "M8 1.2a6.8 6.8 0 1 1 0 13.6A6.8 6.8 0 0 1 8 1.2Z",
  INSUFFICIENT_DATA: "M8 .8 15.2 8 8 15.2.8 8Z",
};
const SIGNS: Record<State, string> = {
  ALARM: "M8 6v4M8 12v.2",
  OK: "M5 8.2 7.2 10.4 11.2 5.8",
  INSUFFICIENT_DATA: "M5.5 8h5",
};

/** A state by shape, color and word: a triangle, a disc, a diamond. */
export function StateMark({ state, hideWord = false }: { state: State; hideWord?: boolean }) {
  return (
    <span class={`state state-${state}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={SHAPES[state]} />
        <path class="sign" d={SIGNS[state]} />
      </svg>
      <span class={hideWord ? "sr-only" : ""}>{STATE_NAMES[state]}</span>
    </span>
  );
}
