import { expect, test } from "bun:test"
import { Verifier } from "../../src/cluster/verifier.ts"
import { configureLog } from "../../src/lib/log.ts"

async function* parts(count: number, problem?: string): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) yield new Uint8Array(100)
  if (problem !== undefined) throw new Error(problem)
}

async function verify(
  names: string[],
  readCount: number,
  read: (name: string, count: number) => AsyncGenerator<Uint8Array> | undefined,
): Promise<{ log: string; names: string[] }> {
  let log = ""
  configureLog({ level: "debug", format: "text" }, (line) => {
    log += line
  })
  const found: string[] = []
  const verifier = new Verifier(names, {
    clock: {
      wallMs: () => 0,
      monotonicMs: () => 1e9,
      steadyMs: () => 0,
      random: () => 0,
      after: (_, wake) => {
        queueMicrotask(wake)
        return () => {}
      },
    },
    rate: 1000,
    read: async (name) => {
      found.push(name)
      return read(name, found.length)
    },
  })
  for (let turn = 0; turn < 1000 && found.length < readCount; turn++) await Promise.resolve()
  await verifier.close()
  configureLog({ level: "info", format: "text" })
  return { log, names: found }
}

test("Verifier tells of a database that cannot be read to the end, and goes on with the next", async () => {
  const { log, names } = await verify(["a.db", "b.db", "gone.db"], 4, (name) =>
    name === "gone.db" ? undefined : parts(3, name === "a.db" ? "rotten" : undefined),
  )
  expect(names).toEqual(["a.db", "a.db", "b.db", "gone.db"])
  expect(log).toContain("db=a.db problem=rotten")
  expect(log).toContain("msg=verified db=b.db bytes=300")
})

test("Verifier says nothing of a database that was replaced while it was read", async () => {
  const { log, names } = await verify(["a.db", "gone.db"], 3, (name, count) =>
    name === "gone.db" ? undefined : parts(3, count === 1 ? "no longer sums" : undefined),
  )
  expect(names).toEqual(["a.db", "a.db", "gone.db"])
  expect(log).not.toContain("no longer sums")
  expect(log).toContain("msg=verified db=a.db bytes=300")
})
