/** Untrusted text: whatever a producer calls its events, it is shown as what it is and nothing more. */

export type GroupValue = string | number | boolean | null;

// Characters that act on the text around them instead of being seen: controls, bidirectional marks and overrides,
// zero-width and tag characters, line separators, lone surrogates. The zero-width joiner stays, since emoji are built with it.
const INVISIBLE =
  /[\p{Cc}\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\u{e0000}-\u{e007f}]|\p{Cs}/gu;

function escaped(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  return `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

/** Return text in which every character can be seen: invisible and direction-changing ones become \u{…} escapes. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, escaped);
}

/** Like `visible`, but lines stay lines: for text shown in a block of its own. */
export function visibleLines(text: string): string {
  return text.split("\n").map(visible).join("\n");
}

/** Cut text to a number of whole characters, with an ellipsis; never through the middle of a surrogate pair. */
export function truncate(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  const characters = Array.from(text.slice(0, 2 * charactersMax + 2));
  return characters.length <= charactersMax ? text : characters.slice(0, charactersMax - 1).join("") + "…";
}

const LITERAL = /^(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|NULL|)$/;

/**
 * Return a group value as one line of visible text.
 *
 * Different values read differently: null is NULL (set in italics where there is style), and a string that looks like
 * a number, a boolean, null or nothing at all is quoted, so that it is not taken for one.
 */
export function groupText(value: GroupValue): string {
  if (value === null) return "NULL";
  if (typeof value !== "string") return String(value);
  return LITERAL.test(value) ? `"${value}"` : visible(value);
}

/** Return the bytes of an event as text that can be read, and how many bytes they are. */
export function readableBytes(data: string, encoding: "utf-8" | "base64"): { text: string; bytes: number } {
  if (encoding === "utf-8") return { text: visibleLines(data), bytes: new TextEncoder().encode(data).length };
  const raw = atob(data);
  const text = raw.replace(/[^\x20-\x7e]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return { text, bytes: raw.length };
}
