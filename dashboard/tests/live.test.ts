import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveFeed } from "../src/live";

class FakeSource extends EventTarget {
  closed = false;
  readyState = 1;

  close(): void {
    this.closed = true;
  }

  change(
    version: number,
    now = Date.now(),
    changed: unknown[] = [],
    alarms = { version: 1, in_alarm: 0 },
    poll_ms: number | null = null,
  ): void {
    const ledger = { received: version, counted: version, unmatched: 0, late: 0, rejected: 0, duplicate: 0 };
    const data = JSON.stringify({ version, now, changed, ledger, alarms, poll_ms });
    this.dispatchEvent(new MessageEvent("change", { data }));
  }

  /** The server sends one message and ends the stream, after which the browser comes back by itself. */
  poll(version: number, changed: unknown[] = []): void {
    this.change(version, Date.now(), changed, { version: 0, in_alarm: 0 }, 5_000);
    this.end();
  }

  end(): void {
    this.readyState = 0;
    this.fail();
  }

  fail(): void {
    this.dispatchEvent(new Event("error"));
  }
}

describe("LiveFeed", () => {
  let opened: FakeSource[];
  let failures: number;
  let feed: LiveFeed;
  const last = () => opened.at(-1)!;

  beforeEach(() => {
    vi.useFakeTimers({ now: 1_000_000 });
    opened = [];
    failures = 0;
    const open = () => {
      const source = new FakeSource();
      opened.push(source);
      return source as unknown as EventSource;
    };
    feed = new LiveFeed(
      open,
      () => (failures += 1),
      () => 0.5,
    );
    feed.connect();
  });

  afterEach(() => vi.useRealTimers());

  it("is live from the first message on, and passes later ones on", () => {
    const changes: unknown[] = [];
    feed.subscribe((changed) => changes.push(...changed));
    expect(feed.status.value).toBe("connecting");
    last().change(1);
    expect([feed.status.value, feed.connections.value, feed.ledger.value?.received]).toEqual(["live", 1, 1]);
    last().change(2, Date.now(), [{ counter: "events", window: "1m", from: 0, to: 60_000 }]);
    expect(changes).toHaveLength(1);
  });

  it("tries again after growing pauses, and says that it does", () => {
    last().change(1);
    for (const pause of [500, 1_000, 2_000, 4_000, 8_000, 8_000]) {
      const before = opened.length;
      last().fail();
      expect(last().closed).toBe(true);
      expect(feed.status.value).toBe("retrying");
      vi.advanceTimersByTime(pause - 1);
      expect(opened).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(opened).toHaveLength(before + 1);
      expect(feed.status.value).toBe("retrying");
    }
    expect(failures).toBe(6);
    last().change(2);
    expect([feed.status.value, feed.connections.value]).toEqual(["live", 2]);
    last().fail();
    vi.advanceTimersByTime(500);
    expect(opened).toHaveLength(8); // the pauses begin anew
  });

  it("polls where each stream ends with its message, and says so", () => {
    const changes: unknown[] = [];
    feed.subscribe((changed) => changes.push(...changed));
    for (let version = 1; version <= 4; version += 1) {
      last().poll(version, [{ counter: "events", window: "1m", from: 0, to: 60_000 }]);
      expect([feed.status.value, feed.pollMs.value, feed.ledger.value?.received]).toEqual(["polling", 5_000, version]);
      vi.advanceTimersByTime(5_500);
    }
    expect([opened.length, feed.connections.value, failures]).toEqual([1, 1, 0]);
    expect(changes).toHaveLength(3);
  });

  it("notices that a poll is not answered, or is refused", () => {
    last().poll(1);
    for (let second = 0; second < 19; second += 1) {
      last().end(); // the browser tries again and again
      vi.advanceTimersByTime(1_000);
    }
    expect([feed.status.value, failures]).toEqual(["polling", 0]);
    vi.advanceTimersByTime(1_000);
    expect([feed.status.value, failures]).toEqual(["retrying", 1]);
    vi.advanceTimersByTime(500);
    last().poll(2);
    expect(feed.status.value).toBe("polling");
    last().readyState = 2;
    last().fail();
    expect([feed.status.value, failures]).toEqual(["retrying", 2]);
  });

  it("holds no connection while paused", () => {
    last().fail();
    feed.pause();
    vi.advanceTimersByTime(60_000);
    expect(opened).toHaveLength(1);
    expect(feed.status.value).toBe("paused");
  });

  it("says how many alarms are in ALARM, and when something changed of them", () => {
    expect(feed.inAlarm.value).toBeNull();
    last().change(1, Date.now(), [], { version: 7, in_alarm: 2 });
    expect([feed.inAlarm.value, feed.alarmsVersion.value]).toEqual([2, 7]);
  });

  it("glances while paused: one message, and the connection is closed", () => {
    feed.glance();
    expect(opened).toHaveLength(1); // it is connecting, which is more than a glance
    last().change(1);
    feed.pause();
    feed.glance();
    expect(opened).toHaveLength(2);
    last().change(2, Date.now(), [], { version: 8, in_alarm: 3 });
    expect([feed.inAlarm.value, feed.status.value, feed.connections.value]).toEqual([3, "paused", 1]);
    expect(last().closed).toBe(true);
    feed.glance();
    last().fail();
    vi.advanceTimersByTime(60_000);
    expect([opened.length, last().closed, feed.status.value]).toEqual([3, true, "paused"]);
  });

  it("goes by the server's clock, as told by the quickest message", () => {
    expect(feed.now()).toBe(1_000_000);
    last().change(1, Date.now() + 60_000);
    expect(feed.now()).toBe(1_060_000);
    last().change(2, Date.now() + 59_500); // half a second on its way
    expect(feed.now()).toBe(1_060_000);
    last().change(3, Date.now() - 60_000); // the server's clock was set back
    expect(feed.now()).toBe(940_000);
  });
});
