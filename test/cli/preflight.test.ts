import { describe, expect, test } from "bun:test"
import { mkdirSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { workingDirectoryProblem } from "../../src/cli/settings/preflight.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

describe("workingDirectoryProblem()", () => {
  test.each<[workingDir: string, problem: RegExp | undefined]>([
    ["", undefined],
    ["data.old", undefined],
    ["data", /^it is in the data directory/],
    ["data/dbs", /^it is in the data directory/],
    ["link", /^it is in the data directory/],
    ["mount", /^the mount covers it/],
  ])("of %j", async (workingDir, problem) => {
    using directory = new TemporaryDirectory()
    const at = (name: string) => join(directory.path, name)
    for (const name of ["data/dbs", "data.old", "mount"]) mkdirSync(at(name), { recursive: true })
    symlinkSync(at("data"), at("link"))
    const found = await workingDirectoryProblem(
      { fuseDir: at("mount"), dataDir: at("data") },
      at(workingDir),
    )
    if (problem === undefined) expect(found).toBeUndefined()
    else expect(found).toMatch(problem)
  })
})
