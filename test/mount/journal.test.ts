import { expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Opened } from "../../src/fuse/filesystem.ts"
import { ROOT_ID } from "../../src/fuse/filesystem.ts"
import { JOURNAL_MAGIC } from "../../src/sqlite/journal.ts"
import { regionOf } from "../support/captured-database.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"
import { imagesAfter } from "../support/rollback-client.ts"

const PAGE_SIZE = 512
const CALLER = { uid: 0, gid: 0, pid: 0 }

/** A rollback transaction's calls, on the files of the mount. */
class Client {
  readonly #node: RecoveredNode

  constructor(node: RecoveredNode) {
    this.#node = node
  }

  create(name: string): number {
    const opened: Opened = { handle: 0, flags: 0, backingId: 0 }
    return this.#node.directory.create(ROOT_ID, name, 0, 0o600, CALLER, opened).nodeId
  }

  write(nodeId: number, offset: number, bytes: Uint8Array): void {
    this.#node.directory.write(nodeId, 0, offset, bytes.length, regionOf(bytes), CALLER)
  }

  /** Its journal, with the magic number that makes it hot. */
  begin(): number {
    const journal = this.create("a.db-journal")
    const header = new Uint8Array(PAGE_SIZE)
    header.set(JOURNAL_MAGIC)
    const view = new DataView(header.buffer)
    view.setUint32(20, PAGE_SIZE) // of a sector
    view.setUint32(24, PAGE_SIZE)
    this.write(journal, 0, header)
    return journal
  }
}

test("a journal of a transaction that was undone with the role of its node takes nothing when the role is back", () => {
  const root = mkdtempSync(join(tmpdir(), "litefs-journal-"))
  const node = RecoveredNode.start(root, new RecordedLog().logger)
  try {
    const { directory } = node
    const client = new Client(node)
    const [first, second] = imagesAfter(
      [`page_size=${PAGE_SIZE}`],
      "CREATE TABLE t(x)",
      "INSERT INTO t VALUES(1)",
    ) as [Uint8Array, Uint8Array]
    const database = client.create("a.db")
    client.begin()
    client.write(database, 0, first)
    directory.unlink(ROOT_ID, "a.db-journal", CALLER)
    const journal = client.begin()
    client.write(database, PAGE_SIZE, second.subarray(PAGE_SIZE)) // spilled
    directory.databases.inherit(directory.databases.handOver())
    const position = directory.databases.find("a.db")?.capture?.history.pos
    const isRefused = expect.objectContaining({ errno: 5 }) // EIO
    expect(() => client.write(journal, 0, Uint8Array.from(JOURNAL_MAGIC))).toThrow(isRefused)
    expect(() => client.write(database, 0, second.subarray(0, PAGE_SIZE))).toThrow(/journal/)
    expect(() => client.write(journal, 0, new Uint8Array(28))).toThrow(isRefused) // PERSIST
    const attributes = directory.lookup(ROOT_ID, "a.db")?.attributes as never
    const empty = { size: 0, handle: undefined, mode: undefined, uid: undefined, gid: undefined }
    expect(() => directory.setAttributes(journal, empty, attributes, CALLER)).toThrow(isRefused)
    expect(() => directory.unlink(ROOT_ID, "a.db-journal", CALLER)).toThrow()
    expect(directory.databases.find("a.db")?.capture?.history.pos).toEqual(position)
  } finally {
    node.kill()
    rmSync(root, { recursive: true })
  }
})
