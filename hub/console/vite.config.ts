// How the console is built and served while it is written.
//
// The built files are committed, so the build must give the same bytes each time: fixed file names, no source maps, nothing
// inlined as `data:` (the pages run under `default-src 'self'`). The files lie beside the page and not in `assets/`, because
// servers let browsers keep that folder for ever; these are asked for again with their ETag.
import { defineConfig } from "vite";

const mock = process.env["SENTINEL_API"] ?? "http://127.0.0.1:7480";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    sourcemap: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: "console.js",
        chunkFileNames: "[name].js",
        assetFileNames: "console.[ext]",
      },
    },
  },
  server: { host: "127.0.0.1", proxy: { "/api": { target: mock, secure: false } } },
});
