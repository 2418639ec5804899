import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api";

export interface Answer<T> {
  answer: T | null;
  error: ApiError | null;
  reload: () => void;
}

interface Held<T> {
  of: string;
  answer: T | null;
  error: ApiError | null;
}

/**
 * Ask the server, and ask again when something changes.
 *
 * Args: what, names what is asked for: while it is the same, the old answer stays until the new one is here, also through an
 * error; null asks nothing. changes, values that make the answer old.
 */
export function useAnswer<T>(
  what: string | null,
  changes: readonly unknown[],
  ask: (abort: AbortSignal) => Promise<T>,
): Answer<T> {
  const [held, setHeld] = useState<Held<T>>({ of: "", answer: null, error: null });
  const [attempt, setAttempt] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (what === null) return;
    const abort = new AbortController();
    latest.current(abort.signal).then(
      (answer) => !abort.signal.aborted && setHeld({ of: what, answer, error: null }),
      (error) => {
        if (abort.signal.aborted || !(error instanceof ApiError)) return;
        setHeld((before) => ({ of: what, answer: before.of === what ? before.answer : null, error }));
      },
    );
    return () => abort.abort();
  }, [what, attempt, ...changes]);
  const reload = () => setAttempt((count) => count + 1);
  return held.of === what ? { answer: held.answer, error: held.error, reload } : { answer: null, error: null, reload };
}
