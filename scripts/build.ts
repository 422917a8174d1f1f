/**
 * Builds `dist/litefs`, a static file in its plain form, for the architecture of this machine. Run it through
 * `scripts/build`.
 *
 * The file is built in a directory of its own and then moved into place, so a build never disturbs
 * one that is running, and two at a time do not mix.
 */
import { existsSync, globSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { hostArchitecture } from "./static/architecture.ts"
import { sumOf } from "./static/cache.ts"
import { currentRevision, writeExecutables } from "./static/executable.ts"

const TARGET = "dist/litefs"
const STAMP = "dist/litefs.stamp"

process.chdir(resolve(import.meta.dirname, ".."))
const revision = await currentRevision()
const stamp = sumOf(sources(), revision.commit ?? "")
if (!process.argv.includes("--force") && isBuilt()) {
  console.error(`${TARGET} is up to date`)
} else {
  await build()
}

function isBuilt(): boolean {
  return existsSync(TARGET) && existsSync(STAMP) && readFileSync(STAMP, "utf8") === stamp
}

async function build(): Promise<void> {
  try {
    await writeExecutables(hostArchitecture(), revision, { plain: TARGET })
  } catch (error) {
    console.error(`ERROR: Cannot build ${TARGET}: ${(error as Error).message}`)
    process.exitCode = 1
    return
  }
  writeFileSync(STAMP, stamp)
  console.error(`built ${TARGET}, ${(statSync(TARGET).size / 1e6).toFixed(1)} MB`)
}

/** Everything that decides what the executable does. */
function sources(): string[] {
  const code = globSync(["src/**/*.{ts,txt,c,h,html,css,js}", "scripts/static/*.ts"]).sort()
  return [...code, "LICENSE", "package.json", "package-lock.json", "scripts/build.ts"]
}
