import { defineConfig, type UserConfig } from "vite";

const STATIC = "../src/tallystream/web/static";

/** The pages: index.html and hashed assets, which the server may let browsers keep for ever. */
const dashboard: UserConfig = {
  build: {
    outDir: STATIC,
    emptyOutDir: true,
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // the first with light-dark(), which the colors are written in
    modulePreload: { polyfill: false }, // the polyfill is an inline script, which the policy forbids
    assetsInlineLimit: 0,
    license: { fileName: "licenses.md" },
  },
  server: {
    proxy: { "/v1": "http://127.0.0.1:8080", "/tally.js": "http://127.0.0.1:8080" },
  },
};

/** tally.js: one classic script without a hash, since its address is written into the pages of others. */
const tally: UserConfig = {
  publicDir: false,
  build: {
    outDir: STATIC,
    emptyOutDir: false,
    target: "es2018",
    rolldownOptions: {
      input: "src/tally.ts",
      output: { format: "iife", entryFileNames: "tally.js" },
    },
  },
};

export default defineConfig(({ mode }) => (mode === "tally" ? tally : dashboard));
