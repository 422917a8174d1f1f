import { expect, test } from "bun:test"
import type { DatabaseEntry } from "../../src/mount/files/database.ts"
import { EmptyFiles } from "../../src/mount/names/empty-files.ts"
import { FakeClock } from "../support/fake-clock.ts"

/** Files of the mount by name. */
function makeFiles() {
  const clock = new FakeClock()
  const files = new Map<string, { name: string; isUnused: boolean; isRefused: boolean }>()
  const empty = new EmptyFiles({
    clock,
    find: (name) => files.get(name) as DatabaseEntry | undefined,
    remove: ({ name }) => void files.delete(name),
  })
  return {
    ...{ clock, empty, files },
    entry(name: string, isUnused: boolean, isRefused = false) {
      const entry = { name, isUnused, isRefused }
      files.set(name, entry)
      return entry as DatabaseEntry
    },
  }
}

test("an empty file goes a minute after its last user, and at once when it was refused a write", () => {
  const { clock, empty, files, entry } = makeFiles()
  expect(empty.sweep()).toBeUndefined()
  empty.released(entry("refused.db", true, true))
  empty.released(entry("a.db", true))
  clock.advance(10_000)
  empty.released(entry("used.db", false))
  empty.released(entry("b.db", true))
  expect([...files.keys()]).toEqual(["a.db", "used.db", "b.db"])
  expect(empty.sweep()).toBe(50_000)
  clock.advance(50_000)
  expect(empty.sweep()).toBe(10_000)
  expect([...files.keys()]).toEqual(["used.db", "b.db"])
  clock.advance(10_000)
  expect(empty.sweep()).toBeUndefined()
  expect([...files.keys()]).toEqual(["used.db"])
})

test("an empty file that is opened again, or has become a database, stays", () => {
  const { clock, empty, files, entry } = makeFiles()
  const opened = entry("opened.db", true)
  empty.released(opened)
  empty.released(entry("filled.db", true))
  clock.advance(30_000)
  empty.opened(opened)
  entry("filled.db", false)
  clock.advance(60_000)
  expect(empty.sweep()).toBeUndefined()
  expect([...files.keys()]).toEqual(["opened.db", "filled.db"])
  empty.released(opened)
  expect(empty.sweep()).toBe(60_000)
})
