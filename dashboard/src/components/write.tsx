/** What changes something on the server: asks for the write token where one is needed, and says what went wrong. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api";
import { ErrorNote } from "./states";

interface Write {
  busy: boolean;
  /** Run a request; true when it was done. The token is what was typed, if it was asked for. */
  run: (request: (token?: string) => Promise<void>) => Promise<boolean>;
  /** The field for the token where one is needed, and the error: part of the form. */
  token: ComponentChildren;
  problem: ComponentChildren;
}

export function useWrite(): Write {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), [asking]);

  const run = async (request: (token?: string) => Promise<void>) => {
    setBusy(true);
    setError(null);
    try {
      await request(input.current?.value);
      setAsking(false);
      return true;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if ((problem.status === 401 || problem.status === 403) && !asking) setAsking(true);
      else setError(problem);
      return false;
    } finally {
      setBusy(false);
    }
  };

  const token = asking && (
    <label class="token">
      Write token
      <input type="password" ref={input} required autoComplete="off" />
    </label>
  );
  return { busy, run, token, problem: error && <ErrorNote error={error} /> };
}
