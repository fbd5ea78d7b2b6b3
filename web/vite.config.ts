import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import type { Plugin } from "vite";

/** Writes `name.gz` beside what is worth it, so that the server compresses nothing. */
function gzipped(): Plugin {
  return {
    name: "gzipped",
    apply: "build",
    writeBundle(options, bundle) {
      for (const name of Object.keys(bundle)) {
        if (!/\.(js|css|svg|json)$/.test(name)) continue;
        const path = join(options.dir ?? "", name);
        const packed = gzipSync(readFileSync(path), { level: 9 });
        writeFileSync(`${path}.gz`, packed);
      }
    },
  };
}

const api = process.env.REELMILL_URL ?? "http://127.0.0.1:8000";
const served = ["/api", "/objects", "/spool", "/streams", "/share", "/signin", "/signout", "/session", "/healthz", "/readyz", "/docs", "/openapi.json"];

export default defineConfig({
  base: "./",
  plugins: [react(), gzipped()],
  build: {
    outDir: "../src/reelmill/web",
    emptyOutDir: true,
    target: "es2023",
    cssTarget: ["chrome123", "firefox121", "safari17.5"],
    manifest: "manifest.json",
    chunkSizeWarningLimit: 900,
    reportCompressedSize: false,
  },
  server: { proxy: Object.fromEntries(served.map((path) => [path, { target: api, changeOrigin: false }])) },
  test: { environment: "jsdom", include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
