import { readFileSync } from "node:fs";
import { build } from "vite";
import { expect, it } from "vitest";

it("is one small classic script that keeps nothing in the browser", async () => {
  const built = await build({ mode: "tally", logLevel: "silent", build: { write: false } });
  if (Array.isArray(built) || !("output" in built)) throw new Error("expected one output");
  const [chunk] = built.output;
  expect(chunk.fileName).toBe("tally.js");
  expect(Buffer.byteLength(chunk.code)).toBeLessThan(2_000);
  expect(chunk.code).not.toMatch(/cookie|localStorage|sessionStorage|indexedDB/);
  expect(chunk.code).not.toMatch(/\b(?:import|export)\b/);
});

it("names no host but the one it came from", () => {
  expect(readFileSync("src/tally.ts", "utf8")).not.toMatch(/https?:\/\//);
});
