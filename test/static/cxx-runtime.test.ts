/** The C++ library in a static file: made for musl, by a program that throws and unwinds through it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { symlinkSync } from "node:fs"
import { join } from "node:path"
import { hostArchitecture } from "../../scripts/static/architecture.ts"
import { run } from "../../scripts/static/command.ts"
import { loaderFor } from "../../scripts/static/loader.ts"
import { compileCxxForMusl } from "../../scripts/static/musl-program.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

setDefaultTimeout(300_000) // when the loader has to be made

describe("libstdc++ in the loader", () => {
  test("throws and unwinds, through itself and on threads", async () => {
    using directory = new TemporaryDirectory()
    const program = join(directory.path, "throw")
    const architecture = hostArchitecture()
    const { path } = await loaderFor(architecture)
    symlinkSync(path, join(directory.path, "libstdc++.so.6"))
    await compileCxxForMusl(architecture, join(import.meta.dirname, "throw.cc"), program)

    const { stdout, stderr, status } = spawnSync(program, {
      env: { LD_LIBRARY_PATH: directory.path },
      encoding: "utf8",
    })

    expect({ stdout, stderr, status }).toEqual({
      stdout: `from the depth, 1001 destroyed
no element 5
bad_function_call
too long
2 No such file or directory
std::bad_cast
again 42
cast 1 Both
thread, once 1
kept 1 10000 10000 1
`,
      stderr: "",
      status: 0,
    })
  })

  test("has all that the runtime imports, with musl", async () => {
    const { triplet } = hostArchitecture()
    const { path, libcPath } = await loaderFor(hostArchitecture())
    const { bunRuntime } = await import("../../scripts/static/bun-runtime.ts")
    const runtime = await bunRuntime(hostArchitecture().bun.musl)
    const namesOf = async (...args: string[]) => {
      const lines = (await run([`${triplet}-nm`, "-D", ...args])).trim().split("\n")
      return lines.map((line) => line.trim().split(/\s+/)).map((words) => words.slice(-2))
    }
    const imported = (await namesOf("--undefined-only", runtime)).filter(([kind]) => kind === "U")
    const defined = new Set(
      [
        ...(await namesOf("--defined-only", path)),
        ...(await namesOf("--defined-only", libcPath)),
      ].map(([, name]) => name),
    )
    expect(imported.length).toBeGreaterThan(100)
    expect(imported.map(([, name]) => name).filter((name) => !defined.has(name))).toEqual([])
  })
})
