import { describe, expect, test } from "bun:test"
import { ROOT_ID } from "../../src/fuse/filesystem.ts"
import type { FileEntry } from "../../src/mount/files/entry.ts"
import { EntryTable } from "../../src/mount/files/entry-table.ts"

/** A table, and the ids of entries that were closed. */
function entryTable() {
  const table = new EntryTable()
  const closed: number[] = []
  const add = (name: string): FileEntry => {
    const nodeId = table.nextNodeId
    const entry: Pick<FileEntry, "nodeId" | "name" | "close"> = {
      ...{ nodeId, name },
      close: () => closed.push(nodeId),
    }
    return table.add(entry as FileEntry)
  }
  return { table, closed, add }
}

describe("EntryTable", () => {
  test("keeps an entry until the kernel has forgotten every reference", () => {
    const { table, closed, add } = entryTable()
    const entry = add("app.db")
    table.refer(entry)
    table.refer(entry)
    table.forget(entry.nodeId, 1)
    expect(table.named("app.db")).toBe(entry)
    expect(closed).toEqual([])
    table.forget(entry.nodeId, 1)
    expect(table.named("app.db")).toBeUndefined()
    expect(table.find(entry.nodeId)).toBeUndefined()
    expect(closed).toEqual([entry.nodeId])
  })

  test("gives the name of a removed file to another while the first is open", () => {
    const { table, closed, add } = entryTable()
    const removed = add("app.db")
    table.refer(removed)
    table.removeName(removed)
    const next = add("app.db")
    expect(next.nodeId).not.toBe(removed.nodeId)
    expect(table.get(removed.nodeId)).toBe(removed)
    table.forget(removed.nodeId, 1)
    expect(closed).toEqual([removed.nodeId])
    expect(table.named("app.db")).toBe(next)
  })

  test("forgets a removed file at once that the kernel does not know", () => {
    const { table, closed, add } = entryTable()
    const entry = add("app.db")
    table.removeName(entry)
    expect(table.find(entry.nodeId)).toBeUndefined()
    expect(closed).toEqual([entry.nodeId])
  })

  test("says EISDIR for the directory, and ENOENT for what it does not know", () => {
    const { table } = entryTable()
    expect(() => table.get(ROOT_ID)).toThrow("EISDIR")
    expect(() => table.get(99)).toThrow("ENOENT")
  })
})
