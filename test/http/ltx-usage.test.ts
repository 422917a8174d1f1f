import { expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { LtxUsage } from "../../src/http/status/ltx-usage.ts"

test("LtxUsage counts a directory that is not there as empty, and one that cannot be read later", async () => {
  const scratch = mkdtempSync(join(tmpdir(), "litefs-usage-"))
  try {
    const usage = new LtxUsage({
      made: () => ({ count: 0, size: 0 }),
      directory: (database) => join(scratch, database),
    })
    writeFileSync(join(scratch, "a.db"), "in its place")
    await usage.learn(["a.db", "gone.db"])
    expect(usage.of("a.db")).toBeUndefined()
    expect(usage.of("gone.db")).toEqual({ count: 0, size: 0 })

    rmSync(join(scratch, "a.db"))
    mkdirSync(join(scratch, "a.db"))
    writeFileSync(join(scratch, "a.db", "0000000000000001-0000000000000001.ltx"), "12345")
    await usage.learn(["a.db"])
    expect(usage.of("a.db")).toEqual({ count: 1, size: 5 })
  } finally {
    rmSync(scratch, { recursive: true })
  }
})
