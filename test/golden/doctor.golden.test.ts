/** Data directories that LiteFS v0.5 has left, at rest and in the midst of things. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { FakeIo } from "../support/fake-io.ts"
import {
  goldenScenarios,
  hasGolden,
  listGolden,
  readGolden,
  readGoldenMaybeGzip,
  readGoldenText,
} from "../support/golden.ts"

/** Scenarios at their end, and the images within them. */
const IMAGES: string[][] = goldenScenarios().flatMap((scenario) => [
  [scenario],
  ...listGolden(scenario)
    .filter((name) => listGolden(scenario, name).includes("database"))
    .map((name) => [scenario, name]),
])

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "litefs-doctor-"))
})
afterEach(() => rmSync(root, { recursive: true }))

/** A data directory with this image as its one database. */
function place(image: readonly string[]): void {
  const directory = join(root, "dbs", "app.db")
  mkdirSync(join(directory, "ltx"), { recursive: true })
  const names = listGolden(...image).map((name) => name.replace(/\.gz$/, ""))
  for (const name of ["database", "journal", "wal", "shm"]) {
    if (!names.includes(name)) continue
    writeFileSync(join(directory, name), readGoldenMaybeGzip(...image, name))
  }
  for (const name of listGolden(...image, "ltx")) {
    writeFileSync(join(directory, "ltx", name), readGolden(...image, "ltx", name))
  }
}

async function doctor(...args: string[]) {
  const io = new FakeIo()
  const code = await run(["doctor", "--json", "--data-dir", root, ...args], io)
  expect(io.err).toBe("")
  return { code, report: JSON.parse(io.out) }
}

describe.skipIf(!hasGolden)("litefs doctor of golden data directories", () => {
  test.each(IMAGES.map((image) => [image.join("/"), image] as const))("%s", async (_, image) => {
    place(image)
    const { code, report } = await doctor()
    expect({ code, healthy: report.healthy }).toEqual({ code: 0, healthy: true })
    const last = listGolden(...image, "ltx").at(-1) ?? ""
    const { steps } = JSON.parse(readGoldenText(image[0] ?? "", "manifest.json")) as {
      steps: { pos: string; new_ltx: string[] }[]
    }
    const step = steps.find(({ new_ltx }) => new_ltx.at(-1) === last)
    if (step !== undefined) expect(report.databases[0].pos).toBe(step.pos)
    const hasNewWal = report.databases[0].findings.some(
      ({ code }: { code: string }) => code === "wal-holds",
    )
    if (image.length === 1) expect(hasNewWal).toBe(false)
    expect(existsSync(join(root, "damaged"))).toBe(false)
  })

  test.each(goldenScenarios().map((scenario) => [scenario]))(
    "%s is made again from its LTX files",
    async (scenario) => {
      place([scenario])
      const database = join(root, "dbs", "app.db", "database")
      writeFileSync(database, "")
      expect((await doctor()).code).toBe(1)
      expect((await doctor("--repair")).code).toBe(0)
      const io = new FakeIo()
      const output = join(root, "applied.db")
      expect(await run(["ltx", "apply", "--output", output, root], io)).toBe(0)
      for (const path of [database, output]) {
        const made = new Uint8Array(await Bun.file(path).arrayBuffer())
        expect(Buffer.compare(made, readGolden(scenario, "database"))).toBe(0)
      }
    },
  )
})
