/**
 * tally.js: page views, and clicks on elements marked with data-tally, sent to Tallystream by a page of yours.
 *
 * It keeps nothing in the browser: no cookie, no storage, no identity. Bundled on its own; under 2 KB.
 */

const script = document.currentScript as HTMLScriptElement;
const { key = "", ignoreDnt, query } = script.dataset;
const endpoint = `${new URL(script.src).origin}/v1/events?key=${encodeURIComponent(key)}`;
const refusesTracking = navigator.doNotTrack === "1" || (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl;

let shownPath: string | undefined;

function send(event: string, details: Record<string, string>): void {
  // No event time: for a browser's key the server takes the time of arrival, since clocks of visitors are often wrong.
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-"); // randomUUID would need https
  const body = JSON.stringify({ event, ...details, path: location.pathname, id });
  // A string goes as text/plain, which needs no CORS preflight, and a beacon outlives the page.
  if (navigator.sendBeacon?.(endpoint, body)) return;
  fetch(endpoint, { method: "POST", body, keepalive: true, mode: "no-cors", credentials: "omit" }).catch(() => {});
}

function origin(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return "";
  }
}

function pageView(): void {
  if (location.pathname === shownPath) return;
  // A navigation within the page leaves document.referrer as it was: only the first view has come from there.
  const referrer = shownPath === undefined ? origin(document.referrer) : "";
  shownPath = location.pathname;
  send("page view", {
    url: location.origin + location.pathname + (query === undefined ? "" : location.search),
    referrer,
    title: document.title,
    language: navigator.language,
    screen: `${screen.width}x${screen.height}`,
  });
}

if (!refusesTracking || ignoreDnt !== undefined) {
  for (const name of ["pushState", "replaceState"] as const) {
    const original = history[name];
    history[name] = function (...change) {
      original.apply(this, change);
      setTimeout(pageView); // let the page set its new title first
    };
  }
  addEventListener("popstate", () => setTimeout(pageView));
  document.addEventListener(
    "click",
    (click) => {
      const marked = (click.target as Element).closest?.<HTMLElement>("[data-tally]");
      if (marked) send("click", { target: marked.dataset.tally! });
    },
    true, // before a handler of the page can stop it
  );
  pageView();
}

export {};
