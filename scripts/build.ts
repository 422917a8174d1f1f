/**
 * Builds `dist/litefs`. Run it through `scripts/build`.
 *
 * The file is built in a directory of its own and then moved into place, so a build never disturbs
 * one that is running, and two at a time do not mix.
 */
import { createHash } from "node:crypto"
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join, resolve } from "node:path"

/**
 * Workers are entry points of their own: the bundler does not follow `new Worker(…)`, and one that
 * is not listed here is missing only at run time.
 */
const ENTRY_POINTS = [
  "src/main.ts",
  "src/cli/flock-thread.ts",
  "src/mount/thread.ts",
  "src/peer/check-thread.ts",
  "src/peer/thread.ts",
]

const FLAGS = [
  "--compile",
  "--minify",
  "--bytecode",
  "--splitting", // a command loads what it needs, and threads share the rest
  "--format=esm", // bytecode is CommonJS otherwise, which has no top-level await
  "--sourcemap=none",
  "--root=src", // fixes the paths of the workers inside the executable
  // A .env or bunfig.toml in the application's directory is none of our business.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
]

const TARGET = "dist/litefs"
const STAMP = "dist/litefs.stamp"

process.chdir(resolve(import.meta.dirname, ".."))
const stamp = sumOfSources()
if (!process.argv.includes("--force") && isBuilt()) {
  console.error(`${TARGET} is up to date`)
} else {
  build()
}

function isBuilt(): boolean {
  return existsSync(TARGET) && existsSync(STAMP) && readFileSync(STAMP, "utf8") === stamp
}

function build(): void {
  mkdirSync("dist", { recursive: true })
  const dir = mkdtempSync("dist/build-")
  try {
    const outfile = join(dir, "litefs") // its name is part of the executable
    const entryPoints = ENTRY_POINTS.filter((path) => existsSync(path))
    const command = [process.execPath, "build", ...FLAGS, `--outfile=${outfile}`, ...entryPoints]
    const { exitCode, stdout, stderr } = Bun.spawnSync(command)
    if (exitCode !== 0) {
      console.error(`${stdout}${stderr}ERROR: Cannot build ${TARGET}: bun exited with ${exitCode}`)
      process.exitCode = 1
      return
    }
    renameSync(outfile, TARGET)
    writeFileSync(STAMP, stamp)
    console.error(`built ${TARGET}, ${(statSync(TARGET).size / 1e6).toFixed(1)} MB`)
  } finally {
    rmSync(dir, { recursive: true })
  }
}

/** Of everything that decides what the executable does. */
function sumOfSources(): string {
  const files = globSync("src/**/*.ts").sort()
  const hash = createHash("sha256")
  for (const file of [...files, "package.json", "package-lock.json", "scripts/build.ts"]) {
    hash.update(`${file}\0`).update(readFileSync(file))
  }
  return hash.digest("hex")
}
