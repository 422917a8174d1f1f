import { expect, test } from "bun:test"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Errno } from "../../src/sys/errno.ts"
import { Faults } from "../../src/sys/faults.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const { EIO } = Errno
const call = (faults: Faults) => faults.check("log:write")
const here = (faults: Faults) => call(faults)
const there = (faults: Faults) => call(faults)
const callAll = (faults: Faults) => [1, 2, 3].flatMap(() => [here(faults), there(faults)])

test("Faults counts the calls of a place, which is the same in every run", () => {
  using directory = new TemporaryDirectory()
  const path = join(directory.path, "calls")
  const texts = [
    "sites",
    "OP#2=EIO",
    "OP#2+=EIO",
    "OP#1=EIO,log:write#6=ENOSPC",
    "log:write@0#1=EIO",
  ]
  const outcomes = texts.map((text) => {
    if (text === "sites") writeFileSync(path, "")
    const second = readFileSync(path, "utf8").split("\n")[1]
    const plan = { text: text.replace("OP", second ?? ""), file: undefined }
    return callAll(new Faults({ ...plan, countFile: path }))
  })
  expect(outcomes).toEqual([
    [0, 0, 0, 0, 0, 0],
    [0, 0, 0, EIO, 0, 0],
    [0, 0, 0, EIO, EIO, EIO],
    [0, EIO, 0, 0, 0, Errno.ENOSPC],
    [0, 0, 0, 0, 0, 0],
  ])
  const counted = readFileSync(path, "utf8").split("\n").slice(0, 6)
  expect(new Set(counted).size).toBe(2)
})

test.each(["log:write", "log:write@#1=EIO", "log:write@ab#=EIO", "log:write#1=EWHAT"])(
  "Faults refuses %p",
  (text) => {
    const parse = () => new Faults({ text, file: undefined, countFile: undefined })
    expect(parse).toThrow("Cannot parse LITEFS_FAULTS")
  },
)
