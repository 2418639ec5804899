import { useEffect, useRef, useState } from "preact/hooks";

/** Follow a value that changes often, but at most once every `pauseMs`; the last one always arrives. */
export function useCalm<T>(value: T, pauseMs: number): T {
  const [calm, setCalm] = useState(value);
  const changedAt = useRef(0);
  useEffect(() => {
    if (Object.is(value, calm)) return;
    const timer = setTimeout(
      () => {
        changedAt.current = Date.now();
        setCalm(value);
      },
      Math.max(0, changedAt.current + pauseMs - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [value, calm, pauseMs]);
  return calm;
}
