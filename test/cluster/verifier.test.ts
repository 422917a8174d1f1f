import { expect, test } from "bun:test"
import { Verifier } from "../../src/cluster/verifier.ts"
import { configureLog } from "../../src/lib/log.ts"

async function* parts(count: number, problem?: string): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) yield new Uint8Array(100)
  if (problem !== undefined) throw new Error(problem)
}

test("Verifier tells of a database that cannot be read to the end, and goes on with the next", async () => {
  let log = ""
  configureLog({ level: "debug", format: "text" }, (line) => {
    log += line
  })
  const read: string[] = []
  const verifier = new Verifier(["a.db", "b.db", "gone.db"], {
    clock: {
      wallMs: () => 0,
      monotonicMs: () => 1e9,
      random: () => 0,
      after: (_, wake) => {
        queueMicrotask(wake)
        return () => {}
      },
    },
    rate: 1000,
    read: async (name) => {
      read.push(name)
      return name === "gone.db" ? undefined : parts(3, name === "a.db" ? "rotten" : undefined)
    },
  })
  while (read.length < 3) await Promise.resolve()
  await verifier.close()
  configureLog({ level: "info", format: "text" })
  expect(read).toEqual(["a.db", "b.db", "gone.db"])
  expect(log).toContain("db=a.db problem=rotten")
  expect(log).toContain("msg=verified db=b.db bytes=300")
})
