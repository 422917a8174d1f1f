import { expect, test } from "bun:test"
import { systemClock } from "../../src/lib/clock.ts"
import { WalIndexFile } from "../../src/peer/wal/wal-index-file.ts"
import { touchWhenFree } from "../../src/peer/wal/wal-touch.ts"
import { closeFile, O_RDWR, openFile } from "../../src/sys/file.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

const never = new AbortController().signal

test("touchWhenFree() changes the header when nobody has WRITE, and nothing else of it", async () => {
  using files = new SqliteFiles("journal_mode=WAL")
  files.run("CREATE TABLE t(x); BEGIN IMMEDIATE")
  const shm = openFile("mount:open", `${files.path}-shm`, O_RDWR) // kept: a close would give SQLite's locks up
  const index = new WalIndexFile(shm)
  const before = index.read()?.header
  let isDone = false
  const touched = touchWhenFree(`${files.path}-shm`, systemClock, never).then(() => {
    isDone = true
  })
  await Bun.sleep(30)
  expect(isDone).toBe(false)
  expect(index.read()?.header).toEqual(before)
  files.run("ROLLBACK")
  await touched
  expect(index.read()?.header).toEqual({ ...before, change: (before?.change ?? 0) + 1 } as never)
  files.run("INSERT INTO t VALUES(1)")
  expect(files.value("SELECT count(*) FROM t")).toBe(1)
  expect(index.read()?.header.frameCount).toBe((before?.frameCount ?? 0) + 1)
  closeFile(shm)
})

test("touchWhenFree() ends when its node does", async () => {
  using files = new SqliteFiles("journal_mode=WAL")
  files.run("CREATE TABLE t(x); BEGIN IMMEDIATE")
  const stopping = new AbortController()
  const touched = touchWhenFree(`${files.path}-shm`, systemClock, stopping.signal)
  stopping.abort(new Error("the node is stopping"))
  await expect(touched).rejects.toThrow("the node is stopping")
})
