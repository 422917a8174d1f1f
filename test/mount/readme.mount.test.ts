/** The example of two nodes on one machine is what a reader pastes. */
import { expect } from "bun:test"
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { start } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { freePort, mountsBelow, PROGRAM, Scope } from "../support/node.ts"

const README = resolve(import.meta.dir, "../../README.md")

function example(heading: string): string {
  const section = readFileSync(README, "utf8").split(`\n## ${heading}\n`)[1] ?? ""
  return /```sh\n([^`]*)```/.exec(section)?.[1] ?? ""
}

test("README: two nodes on one machine, as it stands there", async () => {
  await using scope = new Scope()
  const bin = join(scope.directory, "bin")
  mkdirSync(bin)
  const words = PROGRAM.map((word) => `'${word}'`).join(" ")
  writeFileSync(join(bin, "litefs"), `#!/bin/sh\nexec ${words} "$@"\n`)
  chmodSync(join(bin, "litefs"), 0o755)
  const [one, two] = [await freePort(), await freePort()]
  const text = example("Two nodes on one machine").replaceAll("20201", `${one}`)
  const script = `export PATH="${bin}:$PATH" TMPDIR="${scope.directory}"
    ${text.replaceAll("20202", `${two}`)}`
  // In the order in which a reader has them: the output of SQL alone is on stdout.
  const { code, stdout, stderr } = await start(["bash", "-c", script]).ended
  expect({ code, stdout, stderr }).toMatchObject({ code: 0 })
  expect(stdout.split("\n")).toContain("hello")
  expect(mountsBelow(scope.directory)).toEqual([])
}, 60_000)
