/** What the reader prefers, kept in this browser. */

import { effect, signal, type Signal } from "@preact/signals";
import type { Zone } from "./format";

export type Theme = "auto" | "light" | "dark";

function stored<T extends string>(key: string, read: (found: string | null) => T): Signal<T> {
  const name = `tallystream.${key}`;
  let found: string | null = null;
  try {
    found = localStorage.getItem(name);
  } catch {
    // A browser that forbids storage has the defaults on every visit.
  }
  const preference = signal<T>(read(found));
  effect(() => {
    const value = preference.value;
    try {
      localStorage.setItem(name, value);
    } catch {
      // As above.
    }
  });
  return preference;
}

function oneOf<T extends string>(...choices: readonly [T, ...T[]]): (found: string | null) => T {
  return (found) => choices.find((choice) => choice === found) ?? choices[0];
}

export const theme = stored("theme", oneOf<Theme>("auto", "light", "dark"));
export const zone = stored("zone", oneOf<Zone>("utc", "local"));

/** Who mutes and acknowledges, as they last said. */
export const author = stored("author", (found) => found ?? "");

/** Whether this browser signed in; the session itself is a cookie that scripts cannot see. */
export const session = stored("session", oneOf<"none" | "signed-in">("none", "signed-in"));

const systemDark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark now: as chosen, else as the system is. */
export const dark = signal(false);

effect(() => {
  const chosen = theme.value;
  document.documentElement.dataset.theme = chosen;
  dark.value = chosen === "auto" ? systemDark.matches : chosen === "dark";
});

systemDark.addEventListener("change", () => {
  if (theme.value === "auto") dark.value = systemDark.matches;
});
