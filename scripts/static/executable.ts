/** The executables that we ship, from the sources: what `bun build` makes, for musl inside of a static file. */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs"
import { dirname, join } from "node:path"
import type { Architecture } from "./architecture.ts"
import { bunRuntime } from "./bun-runtime.ts"
import { run } from "./command.ts"
import { loaderFor } from "./loader.ts"
import { type Form, writeStaticFile } from "./static-file.ts"

/**
 * Workers are entry points of their own: the bundler does not follow `new Worker(…)`, and one that
 * is not listed here is missing only at run time.
 */
const ENTRY_POINTS = [
  "src/main.ts",
  "src/cli/node/flock-thread.ts",
  "src/mount/thread.ts",
  "src/peer/serve/check-thread.ts",
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

/** A static file in one of its forms, or an executable that uses the system's glibc. */
export type Kind = Form | "glibc"

/** Which state of the sources something is made of. */
export interface Revision {
  /** With `-dirty` behind it when files differ from it; undefined where there is no git. */
  readonly commit: string | undefined
  /** Of the commit, in UTC, like `2026-11-29T20:00:00Z`. */
  readonly date: string | undefined
}

/** Writes executables of several kinds for one architecture. The same sources make the same bytes. */
export async function writeExecutables(
  architecture: Architecture,
  revision: Revision,
  paths: Readonly<Partial<Record<Kind, string>>>,
): Promise<void> {
  for (const libc of ["musl", "glibc"] as const) {
    const kinds: Kind[] = libc === "musl" ? ["plain", "small"] : ["glibc"]
    const wanted = kinds.flatMap((kind) => (paths[kind] ? [{ kind, path: paths[kind] }] : []))
    const [first] = wanted
    if (first === undefined) continue
    mkdirSync(dirname(first.path), { recursive: true })
    const directory = mkdtempSync(join(dirname(first.path), "build-"))
    try {
      const compiled = join(directory, "litefs") // its name is part of the executable
      await compile(architecture.bun[libc], revision, compiled)
      for (const { kind, path } of wanted) {
        const made = join(directory, kind)
        if (kind === "glibc") renameSync(compiled, made)
        else await writeStaticFile(made, kind, await loaderFor(architecture), compiled)
        renameSync(made, path)
      }
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
}

async function compile(platform: string, revision: Revision, outfile: string): Promise<void> {
  const defines = Object.entries({
    LITEFS_COMMIT: revision.commit,
    LITEFS_COMMIT_DATE: revision.date,
  }).map(([name, value]) => `--define=${name}=${JSON.stringify(value ?? "")}`)
  await run([
    process.execPath,
    "build",
    ...FLAGS,
    ...defines,
    `--target=bun-${platform}`,
    `--compile-executable-path=${await bunRuntime(platform)}`,
    `--outfile=${outfile}`,
    ...ENTRY_POINTS,
  ])
}

/** Of the repository in the working directory. */
export async function currentRevision(): Promise<Revision> {
  try {
    const said = await run(["git", "log", "-1", "--format=%H %cd", "--date=format-local:%FT%TZ"], {
      env: { ...process.env, TZ: "UTC" },
    })
    const [commit = "", date] = said.trim().split(" ")
    const decisive = ["src", "scripts", "package.json", "package-lock.json"]
    const changed = await run(["git", "status", "--porcelain", "--", ...decisive])
    return { commit: changed === "" ? commit : `${commit}-dirty`, date }
  } catch {
    return { commit: undefined, date: undefined }
  }
}
