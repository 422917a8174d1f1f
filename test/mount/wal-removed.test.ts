import { Database } from "bun:sqlite"
import { expect, test } from "bun:test"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Deferred } from "../../src/fuse/deferred.ts"
import { type Opened, ROOT_ID } from "../../src/fuse/filesystem.ts"
import { JOURNAL_MAGIC } from "../../src/sqlite/journal.ts"
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE, walFrameSize } from "../../src/sqlite/wal.ts"
import { regionOf } from "../support/captured-database.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"

const CALLER = { uid: 0, gid: 0, pid: process.pid } // which has no file of the mount open

const newOpened = (): Opened => ({ handle: 0, flags: 0, backingId: 0 })

test("who opens a database waits until the kernel has forgotten what a removed WAL has changed", () => {
  const root = mkdtempSync(join(tmpdir(), "litefs-wal-removed-"))
  const node = RecoveredNode.start(root, new RecordedLog().logger)
  const path = join(root, "outside.db")
  using outside = new Database(path)
  outside.run("pragma journal_mode = wal")
  try {
    const { directory } = node
    const make = (name: string) =>
      directory.create(ROOT_ID, name, 0, 0o600, CALLER, newOpened()).nodeId
    const write = (nodeId: number, offset: number, bytes: Uint8Array) =>
      directory.write(nodeId, 0, offset, bytes.length, regionOf(bytes), CALLER)
    const database = make("a.db")
    write(make("a.db-journal"), 0, JOURNAL_MAGIC)
    write(database, 0, readFileSync(path))
    directory.unlink(ROOT_ID, "a.db-journal", CALLER)
    outside.run("create table t(x)")
    const opened = newOpened()
    const wal = directory.create(ROOT_ID, "a.db-wal", 0, 0o600, CALLER, opened).nodeId
    const bytes = readFileSync(`${path}-wal`)
    const size = walFrameSize(4096)
    write(wal, 0, bytes.subarray(0, WAL_HEADER_SIZE))
    for (let at = WAL_HEADER_SIZE; at < bytes.length; at += size) {
      write(wal, at, bytes.subarray(at, at + WAL_FRAME_HEADER_SIZE))
      write(wal, at + WAL_FRAME_HEADER_SIZE, bytes.subarray(at + WAL_FRAME_HEADER_SIZE, at + size))
    }

    directory.release(wal, opened.handle, undefined) // who has it open, keeps it

    const forgotten: (() => void)[] = []
    node.forget = (_database, then) => void forgotten.push(then)
    const open = () => directory.open(database, 0, CALLER, newOpened())
    expect(open()).toBeUndefined()
    expect(directory.unlink(ROOT_ID, "a.db-wal", CALLER)).toBeUndefined() // it holds the directory
    const opening = open()
    expect(opening).toBeInstanceOf(Deferred)
    const answers: number[] = []
    opening?.bind((errno) => answers.push(errno))
    expect(answers).toEqual([])
    for (const then of forgotten) then()
    expect(answers).toEqual([0])
    expect(open()).toBeUndefined()
  } finally {
    node.kill()
    rmSync(root, { recursive: true })
  }
})
