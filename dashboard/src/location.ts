/** The address bar as state: which page, and with which parameters. */

import { signal } from "@preact/signals";

interface Place {
  path: string;
  params: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname, params: new URLSearchParams(location.search) };
}

export const place = signal<Place>(here());

addEventListener("popstate", () => {
  place.value = here();
});

function href(path: string, params: URLSearchParams): string {
  const query = params.toString();
  return query ? `${path}?${query}` : path;
}

/** Go to another page, or to this one with other parameters; back returns. */
export function navigate(path: string, params = new URLSearchParams()): void {
  const target = href(path, params);
  if (target === location.pathname + location.search) return;
  history.pushState(null, "", target);
  place.value = here();
}

/** Write other parameters into the address of this page, without a step for back: for text that is being typed. */
export function replaceParams(params: URLSearchParams): void {
  history.replaceState(null, "", href(location.pathname, params));
  place.value = here();
}

/** Follow links within the dashboard without loading a page. */
export function followLinks(): void {
  document.addEventListener("click", (event) => {
    const link = (event.target as Element).closest?.<HTMLAnchorElement>("a[href]");
    if (!link || link.origin !== location.origin || link.hasAttribute("download") || link.target) return;
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    if (link.pathname.startsWith("/v1/") || link.hash) return;
    event.preventDefault();
    navigate(link.pathname, new URLSearchParams(link.search));
    scrollTo(0, 0);
  });
}
