/** A query result that stays up to date: asked once in full, then only for the windows that change. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { api, ApiError, type CounterInfo, type QueryRequest, type QueryResult } from "./api";
import { type Change, LiveFeed } from "./live";
import { canMerge, mergeResult } from "./series";
import { parseDuration, type Span, touchedWindows, windowEnd } from "./time";

export const feed = new LiveFeed(undefined, () => {
  // EventSource does not say why it failed. If it was a missing token, this finds out and the sign-in form appears.
  api.definition().catch(() => {});
});

export interface QueryState {
  result: QueryResult | null;
  error: ApiError | null;
}

interface Source {
  query: (query: QueryRequest, abort: AbortSignal) => Promise<QueryResult>;
  subscribe: (listener: (changed: Change[]) => void) => () => void;
  wait: (ms: number) => Promise<void>;
}

const MERGE_PAUSE_MS = 200;
const RELOAD_PAUSE_MS = 1_000;

/** Return the window, among those a counter stores, that a query is answered from: changes of that one say it all. */
export function baseWindow(counter: Pick<CounterInfo, "windows">, windowMs: number): string | undefined {
  return counter.windows.findLast((stored) => windowMs % (parseDuration(stored) ?? Infinity) === 0);
}

/**
 * Keeps one query's result up to date.
 *
 * One request is under way at a time. What changes meanwhile is gathered and asked for next, after a short pause, so that
 * a busy stream costs a steady few requests a second.
 */
export class LiveQuery {
  private state: QueryState = { result: null, error: null };
  private all = false;
  private touched: Span | null = null;
  private busy = false;
  private readonly abort = new AbortController();
  private unsubscribe = () => {};

  constructor(
    private readonly query: QueryRequest,
    private readonly window: string | undefined,
    private readonly source: Source,
    private readonly publish: (state: QueryState) => void,
  ) {}

  start(): void {
    this.unsubscribe = this.source.subscribe((changed) => this.follow(changed));
    this.reload();
  }

  stop(): void {
    this.unsubscribe();
    this.abort.abort();
  }

  reload(): void {
    this.all = true;
    void this.work();
  }

  private follow(changed: readonly Change[]): void {
    // A sliding value also depends on the windows before it, which the range does not name: those queries reload anyway.
    const reach = this.query.overMs ?? 0;
    for (const change of changed) {
      if (change.counter !== this.query.counter || change.window !== this.window) continue;
      const touched = touchedWindows({ from: change.from, to: change.to + reach }, this.query.windowMs, this.query);
      if (!touched) continue;
      if (!canMerge(this.query)) this.all = true;
      else if (!this.touched) this.touched = touched;
      else this.touched = { from: Math.min(this.touched.from, touched.from), to: Math.max(this.touched.to, touched.to) };
    }
    void this.work();
  }

  private async work(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      while (!this.abort.signal.aborted && (this.all || this.touched)) {
        const { all, touched } = this;
        this.all = false;
        this.touched = null;
        if (all || !touched || !this.state.result) await this.loadAll();
        else await this.loadPart(touched);
        await this.source.wait(all ? RELOAD_PAUSE_MS : MERGE_PAUSE_MS);
      }
    } catch (error) {
      if (this.abort.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.set({ ...this.state, error });
    } finally {
      this.busy = false;
    }
  }

  private async loadAll(): Promise<void> {
    this.set({ result: await this.source.query(this.query, this.abort.signal), error: null });
  }

  private async loadPart(span: Span): Promise<void> {
    const part = await this.source.query(
      { ...this.query, ...span, top: null, other: false, compare: false },
      this.abort.signal,
    );
    if (part.truncated || !this.state.result) this.all = true;
    else this.set({ result: mergeResult(this.state.result, part, this.query), error: null });
  }

  private set(state: QueryState): void {
    if (this.abort.signal.aborted) return;
    this.state = state;
    this.publish(state);
  }
}

const source: Source = {
  query: api.query,
  subscribe: (listener) => feed.subscribe(listener),
  wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

interface Shown extends QueryState {
  shape: string;
}

/** Everything of a query but its range: while that is the same, the old result may stay until the new one is here. */
function shapeOf(query: QueryRequest | null): string {
  return JSON.stringify(query && { ...query, from: 0, to: 0 });
}

/** Show a query's live result; null asks nothing. */
export function useQuery(query: QueryRequest | null, counter: CounterInfo): QueryState & { reload: () => void } {
  const [shown, setShown] = useState<Shown>({ shape: "", result: null, error: null });
  const [attempt, setAttempt] = useState(0);
  const connection = feed.connections.value;
  const base = query ? baseWindow(counter, query.windowMs) : undefined;
  const shape = shapeOf(query);

  useEffect(() => {
    if (!query) return;
    const live = new LiveQuery(query, base, source, ({ result, error }) =>
      setShown((before) => ({ shape, error, result: result ?? (before.shape === shape ? before.result : null) })),
    );
    live.start();
    return () => live.stop();
  }, [JSON.stringify(query), base, connection, attempt]);

  const reload = useMemo(() => () => setAttempt((count) => count + 1), []);
  return shown.shape === shape ? { result: shown.result, error: shown.error, reload } : { result: null, error: null, reload };
}

/** Return the end of the window that is open now, by the server's clock; a new one at each boundary. */
export function useWindowEnd(windowMs: number): number {
  void feed.connections.value; // the server's clock is known from the first message on
  const [boundaries, setBoundaries] = useState(0);
  const end = windowEnd(feed.now(), windowMs);
  useEffect(() => {
    const pause = Math.min(end - feed.now() + 5, 2 ** 31 - 1);
    const timer = setTimeout(() => setBoundaries((count) => count + 1), pause);
    return () => clearTimeout(timer);
  }, [windowMs, end, boundaries]);
  return end;
}
