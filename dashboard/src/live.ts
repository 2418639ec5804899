/** The live feed: server-sent events from /v1/live, reconnecting, with its state for everybody to see. */

import { effect, type ReadonlySignal, signal, untracked } from "@preact/signals";
import type { Ledger } from "./api";
import type { Span } from "./time";

export interface Change extends Span {
  counter: string;
  window: string;
}

interface LiveMessage {
  version: number;
  now: number;
  changed: Change[];
  ledger: Ledger;
  alarms: { version: number; in_alarm: number };
  /** Where no connection can stay open: the stream ends with this message, and the browser asks for the next after so long. */
  poll_ms?: number | null;
}

export type LiveStatus = "connecting" | "live" | "polling" | "retrying" | "paused";

type Listener = (changed: Change[]) => void;

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 8_000;
const CLOCK_STEP_MS = 2_000;
const GLANCE_MS = 15_000;
const ANSWER_MS_MAX = 15_000;
const CLOSED = 2; // EventSource.CLOSED

/**
 * A connection to /v1/live that mends itself.
 *
 * EventSource's own reconnection gives up on an HTTP error and never says when it will try again, so each failure closes
 * it and a new one is opened after a growing pause. Every (re)connection tells listeners so, since changes may have been
 * missed meanwhile. A hidden page holds no connection. Where the server can hold none open, EventSource's own reconnection is
 * what polls: it says which message it had last, so that the next names what changed since.
 */
export class LiveFeed {
  readonly status = signal<LiveStatus>("connecting");
  readonly ledger = signal<Ledger | null>(null);
  /** How many alarms are in ALARM; null until the server has said. */
  readonly inAlarm = signal<number | null>(null);
  /** Grows with every change of a state, an acknowledgement or a mute. */
  readonly alarmsVersion = signal(0);
  /** Counts connections: whoever shows data asks for it anew when this grows. */
  readonly connections = signal(0);

  /** How often the server is asked where it cannot tell by itself; null: it tells. */
  readonly pollMs = signal<number | null>(null);

  private source: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private clockOffset = -Infinity; // unknown
  private readonly listeners = new Set<Listener>();

  constructor(
    private readonly open: () => EventSource = () => new EventSource("/v1/live"),
    private readonly onFailure: () => void = () => {},
    private readonly random: () => number = Math.random,
  ) {}

  /** The server's clock: windows open and close by it, whatever this computer believes. */
  now(): number {
    return Date.now() + (Number.isFinite(this.clockOffset) ? this.clockOffset : 0);
  }

  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  connect(): void {
    this.close();
    if (this.status.value !== "retrying") this.status.value = "connecting";
    const source = this.open();
    this.source = source;
    let greeted = false;
    source.addEventListener("change", (event) => {
      const message = JSON.parse(event.data as string) as LiveMessage;
      this.take(message);
      this.failures = 0;
      this.stopTimer();
      this.pollMs.value = message.poll_ms ?? null;
      this.status.value = this.pollMs.value === null ? "live" : "polling";
      if (!greeted) {
        greeted = true;
        this.connections.value += 1;
      } else {
        for (const listener of this.listeners) listener(message.changed);
      }
    });
    source.addEventListener("error", () => {
      const polling = this.status.value === "polling" ? this.pollMs.value : null;
      // The end of one message's stream: the browser asks for the next by itself, and says which it had. Unless it does not.
      if (polling === null || source.readyState === CLOSED) return this.retry();
      this.timer ??= setTimeout(() => this.retry(), polling + ANSWER_MS_MAX);
    });
  }

  pause(): void {
    this.close();
    this.status.value = "paused";
  }

  /** While paused: connect for one message, so that the title of a page in the background still says what is in ALARM. */
  glance(): void {
    if (this.status.value !== "paused") return;
    this.close();
    const source = this.open();
    this.source = source;
    source.addEventListener("change", (event) => {
      this.take(JSON.parse(event.data as string) as LiveMessage);
      source.close();
    });
    source.addEventListener("error", () => source.close());
  }

  private take({ now, ledger, alarms }: LiveMessage): void {
    this.setClock(now);
    this.ledger.value = ledger;
    this.inAlarm.value = alarms.in_alarm;
    this.alarmsVersion.value = alarms.version;
  }

  /** Messages arrive late by the network's delay, never early: the one that was quickest says best what time it is. */
  private setClock(serverNow: number): void {
    const offset = serverNow - Date.now();
    if (offset > this.clockOffset || this.clockOffset - offset > CLOCK_STEP_MS) this.clockOffset = offset;
  }

  private retry(): void {
    this.close();
    this.status.value = "retrying";
    const pause = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.failures);
    this.failures += 1;
    this.timer = setTimeout(() => this.connect(), pause * (0.75 + 0.5 * this.random()));
    this.onFailure();
  }

  private stopTimer(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private close(): void {
    this.stopTimer();
    this.source?.close();
    this.source = null;
  }
}

/** Connect while the page can be seen and the reader may read; in the background, only look now and then. */
export function keepConnected(feed: LiveFeed, signInNeeded: ReadonlySignal<boolean>): void {
  const hidden = signal(document.hidden);
  document.addEventListener("visibilitychange", () => (hidden.value = document.hidden));
  effect(() => {
    const connected = !hidden.value && !signInNeeded.value;
    untracked(() => (connected ? feed.connect() : feed.pause()));
    if (connected || signInNeeded.value) return;
    const timer = setInterval(() => feed.glance(), GLANCE_MS);
    return () => clearInterval(timer);
  });
  addEventListener("online", () => feed.status.peek() === "retrying" && feed.connect());
}
