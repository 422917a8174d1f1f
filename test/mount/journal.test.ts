import { expect, test } from "bun:test"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Opened } from "../../src/fuse/filesystem.ts"
import { ROOT_ID } from "../../src/fuse/filesystem.ts"
import { JOURNAL_MAGIC } from "../../src/sqlite/journal.ts"
import { Faults, setFaults } from "../../src/sys/faults.ts"
import { allocate } from "../../src/sys/memory.ts"
import { regionOf } from "../support/captured-database.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"
import { imagesAfter } from "../support/rollback-client.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

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

  read(nodeId: number, size: number): Uint8Array {
    const into = allocate(size)
    const n = this.#node.directory.read(nodeId, 0, 0, size, into)
    return into.bytes.slice(0, n)
  }

  /** Its journal, with the magic number that makes it hot. */
  begin(name = "a.db"): number {
    const journal = this.create(`${name}-journal`)
    const header = new Uint8Array(PAGE_SIZE)
    header.set(JOURNAL_MAGIC)
    const view = new DataView(header.buffer)
    view.setUint32(20, PAGE_SIZE) // of a sector
    view.setUint32(24, PAGE_SIZE)
    this.write(journal, 0, header)
    return journal
  }
}

/** Two databases of a node, of which "a.db" has a committed transaction that its file did not take. */
function unfinished(root: string) {
  const node = RecoveredNode.start(root, new RecordedLog().logger)
  const client = new Client(node)
  const images = imagesAfter(
    [`page_size=${PAGE_SIZE}`],
    "CREATE TABLE t(x)",
    "INSERT INTO t VALUES(1)",
  ) as [Uint8Array, Uint8Array]
  const nodeIds = ["b.db", "a.db"].map((name) => {
    const nodeId = client.create(name)
    client.begin(name)
    client.write(nodeId, 0, images[0])
    node.directory.unlink(ROOT_ID, `${name}-journal`, CALLER)
    return nodeId
  })
  const database = nodeIds[1] as number
  client.begin()
  client.write(database, 0, images[1])
  setFaults(new Faults({ text: "database:write#1+=EIO", file: undefined, countFile: undefined }))
  node.directory.unlink(ROOT_ID, "a.db-journal", CALLER)
  return { node, client, database, images }
}

const UNAVAILABLE = expect.objectContaining({ code: "unavailable" })

test("databases are handed over together when all of them can be, and until then nobody writes, and everybody reads", () => {
  using directory = new TemporaryDirectory()
  const { node, client, database, images } = unfinished(directory.path)
  try {
    const { databases } = node.directory
    for (let trial = 0; trial < 2; trial++) {
      expect(() => databases.handOver()).toThrow(UNAVAILABLE)
      expect(() => client.begin()).toThrow()
      expect(() => client.write(database, 0, images[0])).toThrow()
      expect(Buffer.compare(client.read(database, images[1].length), images[1])).toBe(0)
    }
    setFaults(undefined)
    const handovers = databases.handOver()
    const ends = handovers.map(({ name, state }) => `${name} ${state?.pos.txid}`)
    expect(ends.sort()).toEqual(["a.db 2", "b.db 1"])
    const path = node.dataDir.path("a.db", "database")
    expect(Buffer.compare(readFileSync(path), images[1])).toBe(0)
    databases.inherit(handovers)
    expect(client.begin()).toBeGreaterThan(0)
  } finally {
    setFaults(undefined)
    node.kill()
  }
})

test("a database that cannot be handed over for long is left out, and nobody reads the half of a transaction", () => {
  using directory = new TemporaryDirectory()
  const { node, client, database, images } = unfinished(directory.path)
  try {
    const { databases } = node.directory
    expect(() => databases.handOver()).toThrow(UNAVAILABLE)
    expect(databases.settle()).toBe(false)
    node.clock.advance(10_000)
    const handovers = databases.handOver()
    const left = handovers.filter(({ state }) => state === undefined).map(({ name }) => name)
    expect([handovers.length, left]).toEqual([2, ["a.db"]])
    setFaults(undefined)
    expect(() => client.read(database, images[1].length)).toThrow()
  } finally {
    setFaults(undefined)
    node.kill()
  }
  const again = RecoveredNode.start(directory.path, new RecordedLog().logger)
  try {
    expect(again.states.get("a.db")?.pos.txid).toBe(2n)
    const path = again.dataDir.path("a.db", "database")
    expect(Buffer.compare(readFileSync(path), images[1])).toBe(0)
  } finally {
    again.kill()
  }
})

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
