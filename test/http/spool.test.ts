import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { readdirSync } from "node:fs"
import type { IncomingMessage } from "node:http"
import { join } from "node:path"
import { Readable } from "node:stream"
import { type BodyLook, Spool } from "../../src/http/roles/spool.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const LIMITS = { memorySizeMax: 10, memoryTotalMax: 15, fileTotalMax: 40 }
const LOOK: BodyLook = { startSize: 4, endSize: 3, atStart: () => {} }

let directory: TemporaryDirectory
let clock: FakeClock
let spool: Spool
beforeEach(() => {
  directory = new TemporaryDirectory()
  clock = new FakeClock()
  spool = new Spool((number) => join(directory.path, `${number}`), LIMITS, clock)
})
afterEach(() => directory[Symbol.dispose]())

function receive(text: string, { sizeMax = 100, look = LOOK, partSize = 3, size = "" } = {}) {
  const parts: Buffer[] = []
  for (let at = 0; at < text.length; at += partSize) {
    parts.push(Buffer.from(text.slice(at, at + partSize)))
  }
  const headers = size === "" ? {} : { "content-length": size }
  const request = Object.assign(Readable.from(parts), { headers }) as unknown as IncomingMessage
  return spool.receive(request, { sizeMax, timeMs: 1000 }, look)
}

async function textOf(body: { parts(): AsyncIterable<Uint8Array> }): Promise<string> {
  let text = ""
  for await (const part of body.parts()) text += Buffer.from(part).toString()
  return text
}

describe("Spool", () => {
  test.each([1, 3, 100])(
    "keeps small bodies in memory and large ones in files, parts of %d",
    async (partSize) => {
      const small = await receive("0123456789", { partSize })
      const large = await receive("0123456789abcdefghij", { partSize })
      expect([small.isInMemory, large.isInMemory]).toEqual([true, false])
      expect([await textOf(small), await textOf(large)]).toEqual([
        "0123456789",
        "0123456789abcdefghij",
      ])
      expect([small, large].map(({ size, start, end }) => [size, `${start}`, `${end}`])).toEqual([
        [10, "0123", "789"],
        [20, "0123", "hij"],
      ])
      await large.remove()
      await small.remove()
      expect(readdirSync(directory.path)).toEqual([])
    },
  )

  test("takes so much of all bodies together, in memory and in files", async () => {
    const first = await receive("0123456789")
    const second = await receive("0123456789") // there is no memory left for it
    expect([first.isInMemory, second.isInMemory]).toEqual([true, false])
    const third = await receive("x".repeat(30))
    await expect(receive("x".repeat(11))).rejects.toThrow("too much of others is on its way")
    await expect(receive("", { size: "1" })).rejects.toThrow("too much of others is on its way")
    await third.remove()
    await third.remove()
    await first.remove()
    const fourth = await receive("0123456789")
    expect(fourth.isInMemory).toBe(true)
    const fifth = await receive("x".repeat(30))
    for (const body of [second, fourth, fifth]) await body.remove()
    expect(readdirSync(directory.path)).toEqual([])
  })

  test.each([
    ["says that it is too large", { size: "101" }, /its body is over 100 bytes/],
    ["is too large", { sizeMax: 19 }, /its body is over 19 bytes/],
    [
      "starts as it should not",
      {
        look: {
          ...LOOK,
          atStart: () => {
            throw new RangeError("not so")
          },
        },
      },
      /not so/,
    ],
  ])("leaves nothing of a body that %s", async (_, options, problem) => {
    for (const text of ["01", "0123456789abcdefghij"]) {
      if (text.length > 2 || "look" in options || "size" in options) {
        await expect(receive(text, options)).rejects.toThrow(problem)
      }
    }
    expect(readdirSync(directory.path)).toEqual([])
    expect(clock.timerCount).toBe(0)
    await (await receive("x".repeat(40))).remove()
  })
})
