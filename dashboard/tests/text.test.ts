import { describe, expect, it } from "vitest";
import { groupText, readableBytes, truncate, visible, visibleLines } from "../src/text";

describe("visible", () => {
  it("leaves ordinary text, markup and emoji alone", () => {
    for (const text of ["page view", "<img src=x onerror=alert(1)>", "日本語", "👨‍👩‍👧", "café"]) expect(visible(text)).toBe(text);
  });

  it("shows what would act on the text around it", () => {
    expect(visible("a\u202eb")).toBe("a\\u{202e}b");
    expect(visible("a\u2066b\u2069")).toBe("a\\u{2066}b\\u{2069}");
    expect(visible("tab\tline\nnul\0")).toBe("tab\\tline\\nnul\\u{0}");
    expect(visible("zero\u200bwidth\ufeff")).toBe("zero\\u{200b}width\\u{feff}");
    expect(visible("lone \ud800 surrogate")).toBe("lone \\u{d800} surrogate");
    expect(visible("tag \u{e0041}")).toBe("tag \\u{e0041}");
  });

  it("keeps lines where they are asked for", () => {
    expect(visibleLines("one\ntwo\u202e")).toBe("one\ntwo\\u{202e}");
  });
});

describe("truncate", () => {
  it("cuts between characters, not within", () => {
    expect(truncate("👍👍👍👍", 3)).toBe("👍👍…");
    expect(truncate("abc", 3)).toBe("abc");
    expect(truncate("x".repeat(10_000), 100)).toHaveLength(100);
  });
});

describe("groupText", () => {
  it("reads differently for different values", () => {
    const values = [null, "NULL", "null", "", 3, "3", true, "true", "-1.5e3", -1500, "page view", "__proto__"];
    const texts = values.map(groupText);
    expect(new Set(texts).size).toBe(values.length);
    expect(texts.slice(0, 6)).toEqual(["NULL", '"NULL"', '"null"', '""', "3", '"3"']);
  });
});

describe("readableBytes", () => {
  it("shows text with what is invisible in it", () => {
    expect(readableBytes('{"a": "\u202e"}', "utf-8")).toEqual({ text: '{"a": "\\u{202e}"}', bytes: 12 });
  });

  it("shows bytes that are no text", () => {
    expect(readableBytes(btoa("\xff\xfe{\0}"), "base64")).toEqual({ text: "\\xff\\xfe{\\x00}", bytes: 5 });
  });
});
