/**
 * The files that `scripts/scratch-test` tries, in the directory that it is given: `litefs-plain` and `litefs-small` for
 * this machine; where that is not arm64 also `litefs-arm64-…`, and `bun-arm64`, the bare runtime as a static file.
 */
import { join, resolve } from "node:path"
import { ARCHITECTURES, hostArchitecture } from "./static/architecture.ts"
import { bunRuntime } from "./static/bun-runtime.ts"
import { currentRevision, writeExecutables } from "./static/executable.ts"
import { loaderFor } from "./static/loader.ts"
import { writeStaticFile } from "./static/static-file.ts"

const directory = resolve(process.argv[2] ?? ".")
process.chdir(resolve(import.meta.dirname, ".."))
const revision = await currentRevision()
const host = hostArchitecture()
await writeExecutables(host, revision, filesOf(""))
if (host.name !== "arm64") {
  const { arm64 } = ARCHITECTURES
  await writeExecutables(arm64, revision, filesOf("arm64-"))
  const runtime = await bunRuntime(arm64.bun.musl)
  await writeStaticFile(join(directory, "bun-arm64"), "plain", await loaderFor(arm64), runtime)
}

function filesOf(prefix: string) {
  return {
    plain: join(directory, `litefs-${prefix}plain`),
    small: join(directory, `litefs-${prefix}small`),
  }
}
