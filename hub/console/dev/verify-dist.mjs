// Proves that the committed `dist/` is what the sources build to: two fresh builds must equal each other and it, byte for byte.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "console-dist-"));

const files = (folder) =>
  new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => [path.slice(folder.length + 1), readFileSync(path)]),
  );

function build(name) {
  const out = join(scratch, name);
  const ran = spawnSync(process.execPath, [join(root, "node_modules/vite/bin/vite.js"), "build", "--outDir", out, "--emptyOutDir", "--logLevel", "error"], { cwd: root, stdio: "inherit" });
  if (ran.status !== 0) process.exit(ran.status ?? 1);
  return files(out);
}

function differences(expected, found) {
  const names = new Set([...expected.keys(), ...found.keys()]);
  return [...names].filter((name) => expected.get(name)?.equals(found.get(name) ?? Buffer.alloc(0)) !== true);
}

try {
  const first = build("first");
  const second = build("second");
  const unsteady = differences(first, second);
  const stale = differences(first, files(join(root, "dist")));
  if (unsteady.length > 0) console.error(`two builds differ in ${unsteady.join(", ")}`);
  if (stale.length > 0) console.error(`dist differs from a fresh build in ${stale.join(", ")}; run \`npm run build\` and commit it`);
  if (unsteady.length + stale.length > 0) process.exitCode = 1;
  else console.log(`dist equals a fresh build: ${first.size} files`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
