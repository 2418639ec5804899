/** The frame of every page: navigation, the state of the live connection, preferences, and who may read. */

import { useEffect, useRef, useState } from "preact/hooks";
import { alarmNews, useAlarms } from "./alarms";
import { api, ApiError, type Definition, signInNeeded } from "./api";
import { Segmented } from "./components/controls";
import { Empty, ErrorNote, Skeleton } from "./components/states";
import { formatCompact, formatElapsed, zoneName } from "./format";
import alarmIcon from "./icon-alarm.svg";
import calmIcon from "./icon.svg";
import type { LiveStatus } from "./live";
import { feed } from "./live-query";
import { place } from "./location";
import { Alarms } from "./pages/alarms";
import { CloudAlarms } from "./pages/cloud-alarms";
import { Explore } from "./pages/explore";
import { Health } from "./pages/health";
import { Overview } from "./pages/overview";
import { Rejected } from "./pages/rejected";
import { SignIn } from "./pages/sign-in";
import { session, type Theme, theme, zone } from "./preferences";

const PAGES: Record<string, string> = {
  "/": "Overview",
  "/explore": "Explore",
  "/alarms": "Alarms",
  "/rejected": "Rejected",
  "/health": "Health",
};

const STATUS_TEXT: Record<LiveStatus, string> = {
  connecting: "Connecting",
  live: "Live",
  polling: "Every few seconds",
  retrying: "Disconnected, retrying",
  paused: "Paused",
};

export function App() {
  const [definition, setDefinition] = useState<Definition | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [attempt, setAttempt] = useState(0);
  const connection = feed.connections.value; // a restarted server may have another definition

  useEffect(() => {
    api.definition().then(
      (answer) => {
        setDefinition(answer);
        setError(null);
      },
      (problem) => problem instanceof ApiError && setError(problem),
    );
  }, [connection, attempt]);

  useAlarms(!signInNeeded.value);

  const { path, params } = place.value;
  const page = [path === "/alarms" ? params.get("name") : null, PAGES[path]];
  const inAlarm = feed.inAlarm.value ?? 0;
  const main = useRef<HTMLElement>(null);
  const shownPath = useRef(path);
  useEffect(() => {
    const title = [...page, definition?.name, "Tallystream"].filter(Boolean).join(" · ");
    document.title = inAlarm > 0 ? `(${inAlarm}) ${title}` : title;
    // Someone who listens to the page is told that it is another one, as a loaded page would.
    if (shownPath.current !== path) main.current?.focus();
    shownPath.current = path;
  }, [path, ...page, definition?.name, inAlarm]);
  useEffect(() => {
    document.querySelector<HTMLLinkElement>("link[rel=icon]")!.href = inAlarm > 0 ? alarmIcon : calmIcon;
  }, [inAlarm > 0]);

  const retry = () => setAttempt((count) => count + 1);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the numbers
      </a>
      <Header definition={definition} path={path} />
      <Banner />
      <p class="sr-only" role="status" aria-label="Alarms">
        {alarmNews.value}
      </p>
      <main id="main" tabIndex={-1} ref={main}>
        {signInNeeded.value ? (
          <SignIn onSignedIn={retry} />
        ) : definition ? (
          <Page path={path} definition={definition} />
        ) : error ? (
          <ErrorNote error={error} onRetry={retry} />
        ) : (
          <Skeleton lines={10} label="Loading" />
        )}
      </main>
    </>
  );
}

function statusText(status: LiveStatus): string {
  const pollMs = feed.pollMs.value;
  return status === "polling" && pollMs !== null ? `Every ${formatElapsed(pollMs)}` : STATUS_TEXT[status];
}

function Page({ path, definition }: { path: string; definition: Definition }) {
  switch (path) {
    case "/":
      return <Overview definition={definition} />;
    case "/explore":
      return <Explore definition={definition} />;
    case "/alarms":
      return definition.aws ? <CloudAlarms aws={definition.aws} /> : <Alarms definition={definition} />;
    case "/rejected":
      return <Rejected definition={definition} />;
    case "/health":
      return <Health definition={definition} />;
    default:
      return (
        <Empty title="There is no such page">
          <p>
            <a href="/">To the overview</a>
          </p>
        </Empty>
      );
  }
}

const THEMES: [Theme, string][] = [
  ["auto", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
];

function Header({ definition, path }: { definition: Definition | null; path: string }) {
  const rejected = feed.ledger.value?.rejected ?? 0;
  const inAlarm = feed.inAlarm.value ?? 0;
  const status = feed.status.value;
  return (
    <header class="site">
      <a class="brand" href="/">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M9 8v16M14 8v16M19 8v16M24 8v16" />
          <path class="strike" d="M5.5 21.5 27 10.5" />
        </svg>
        <span class="brand-name">{definition ? <bdi>{definition.name}</bdi> : "Tallystream"}</span>
      </a>
      <nav aria-label="Pages">
        {Object.entries(PAGES).map(([target, name]) => (
          <a key={target} href={target} aria-current={target === path ? "page" : undefined}>
            {name}
            {target === "/alarms" && inAlarm > 0 && (
              <span class="badge badge-alarm" title={`${inAlarm} in alarm`}>
                <span aria-hidden="true">▲</span>
                {formatCompact(inAlarm)}
                <span class="sr-only"> in alarm</span>
              </span>
            )}
            {target === "/rejected" && rejected > 0 && <span class="badge">{formatCompact(rejected)}</span>}
          </a>
        ))}
      </nav>
      <div class="site-tools">
        <p class={`live ${signInNeeded.value ? "signed-out" : status}`} role="status">
          <i aria-hidden="true" />
          {signInNeeded.value ? "Signed out" : statusText(status)}
        </p>
        <Segmented
          label="Times"
          hideLabel
          value={zone.value}
          choices={[
            ["utc", "UTC"],
            ["local", "Local"],
          ]}
          onChange={(chosen) => (zone.value = chosen)}
        />
        <label class="theme">
          <span class="sr-only">Colors</span>
          <select
            value={theme.value}
            title={`Colors; times are ${zoneName(zone.value)}`}
            onChange={(event) => (theme.value = event.currentTarget.value as Theme)}
          >
            {THEMES.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        {session.value === "signed-in" && !signInNeeded.value && <SignOut />}
      </div>
    </header>
  );
}

function SignOut() {
  const leave = async () => {
    await api.signOut();
    session.value = "none";
    location.assign("/");
  };
  return (
    <button type="button" onClick={() => void leave()}>
      Sign out
    </button>
  );
}

/** A line across the page while the numbers stand still, so that nobody takes old ones for new. */
function Banner() {
  if (feed.status.value !== "retrying" || signInNeeded.value) return null;
  return <p class="banner">The server cannot be reached; these are the last numbers it gave. Trying again…</p>;
}
