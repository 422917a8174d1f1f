/** Which databases the peer thread has when the role of its node changes, and what it knows of them then. */
import { expect, test } from "bun:test"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { damagedHandover } from "../../src/capture/handover.ts"
import { MountCache } from "../../src/peer/files/mount-cache.ts"
import { HeldLocks } from "../../src/peer/locks/held-locks.ts"
import { IncomingFiles } from "../../src/peer/receive/incoming-files.ts"
import { ReplicaDatabases } from "../../src/peer/receive/replica-databases.ts"
import { Snapshots } from "../../src/peer/serve/snapshots.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { Positions, SLOT_COUNT_MAX } from "../../src/store/positions.ts"
import { SharedFlags } from "../../src/store/shared-flags.ts"
import { closeFile, O_RDWR, openSpecial } from "../../src/sys/file.ts"
import { DataDirectory } from "../support/data-directory.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const NAME = "app.db"

/** A peer thread without a mount, whose database is in a rollback mode: so nothing of the mount is needed. */
class Peer implements Disposable {
  readonly data = new DataDirectory()
  readonly databases: ReplicaDatabases
  readonly snapshots: Snapshots
  readonly incoming: IncomingFiles
  /** What has become of files, as the main thread hears it. */
  readonly told: string[] = []
  readonly positions = Positions.create()
  readonly #fuseDir = mkdtempSync(join(tmpdir(), "litefs-mnt-"))
  readonly #device = openSpecial("test:open", "/dev/null", O_RDWR)

  constructor() {
    this.data.database(NAME)
    const dataDir = new DataDir(this.data.root)
    const { positions } = this
    const { logger: log } = new RecordedLog()
    const { signal } = new AbortController()
    const cache = new MountCache(this.#fuseDir, log)
    cache.mounted(this.#device, 0)
    const common = { fuseDir: this.#fuseDir, dataDir, positions, log, signal }
    const locks = new HeldLocks({ ...common, hostname: "here" })
    this.databases = new ReplicaDatabases({
      ...{ ...common, cache, flags: SharedFlags.create(), locks },
      ...{ main: { tell() {} }, fs: { tell() {} }, replacing: () => {} },
    })
    const { databases } = this
    this.snapshots = new Snapshots({ ...common, nodeId: 1n, databases, main: { tell() {} } })
    this.incoming = new IncomingFiles({
      ...{ databases, locks },
      main: {
        tell: (what, ...more) => void this.told.push(`${what} ${more.slice(0, 2).join(" ")}`),
      },
    })
    databases.recover({ isSameBoot: false })
  }

  [Symbol.dispose](): void {
    this.data[Symbol.dispose]()
    rmSync(this.#fuseDir, { recursive: true })
    closeFile(this.#device)
  }
}

test("ReplicaDatabases makes nothing of a database that the fs thread has, whoever asks while the role changes", async () => {
  using peer = new Peer()
  const { databases, snapshots } = peer
  const frozen = snapshots.freeze(1, NAME)
  const handovers = await databases.handOver()
  const pos = handovers[0]?.state?.pos
  expect(frozen?.pos).toEqual(pos as never)
  expect(pos?.txid).toBe(4n)

  expect(snapshots.freeze(2, NAME)).toBeUndefined() // the fs thread is about to write to it
  databases.letGoAll()
  expect(snapshots.freeze(3, NAME)).toBeUndefined()
  expect(() => databases.database(NAME)).toThrow(/clients of this node write to it/)

  await databases.inherit(handovers)
  expect(databases.database(NAME).pos).toEqual(pos as never)
  expect(snapshots.freeze(4, NAME)?.pos).toEqual(pos as never)
})

test("ReplicaDatabases that are given back at once begin anew, with the commit log that is open then", async () => {
  using peer = new Peer()
  const { databases } = peer
  const before = databases.database(NAME)
  const handovers = await databases.handOver()
  await databases.inherit(handovers)
  expect(databases.database(NAME)).not.toBe(before)
  expect(databases.database(NAME).pos).toEqual(before.pos)
})

test("ReplicaDatabases has nothing of what it could not borrow", async () => {
  using peer = new Peer()
  const { databases } = peer
  await databases.handOver()
  databases.letGoAll()
  const borrowing = databases.borrow(damagedHandover(NAME), undefined)
  await expect(borrowing).rejects.toThrow(/it is damaged/)
  expect(databases.isHere(NAME)).toBe(false)
})

test("IncomingFiles leaves nothing behind of new databases whose files are empty, garbage, or do not fit", async () => {
  using peer = new Peer()
  const { databases, incoming, told } = peer
  const whole = ltxFile({
    header: { minTxid: 7n, preApplyChecksum: 1n << 63n },
    pages: [page(1, 1)],
    postApplyChecksum: 1n << 63n,
  })
  const bad = [new Uint8Array(0), new Uint8Array(500).fill(1), whole.subarray(0, 200), whole]
  for (const [file, bytes] of bad.entries()) {
    const later = incoming.receive(file, `${file}.db`, bytes, true)
    await new Promise<void>((taken) =>
      later === undefined ? taken() : later.begin(taken, () => {}),
    )
  }
  incoming.receive(9, "cut.db", whole.subarray(0, 150), false)
  expect(databases.known("cut.db")).toBeDefined()
  incoming.abort(9)
  expect(told.map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual(
    bad.map((_, file) => `refusedFile ${file}`),
  )
  expect(readdirSync(join(peer.data.root, "dbs"))).toEqual([NAME])
  expect(databases.known("cut.db") ?? databases.known("3.db")).toBeUndefined()
})

test("ReplicaDatabases makes nothing of a database for which there is no room among the positions", () => {
  using peer = new Peer()
  const { databases, positions } = peer
  for (let n = 1; n < SLOT_COUNT_MAX; n++) positions.add(`${n}.db`)
  expect(() => databases.database("more.db")).toThrow(/there are 16384 already/)
  expect(databases.database(NAME).pos.txid).toBe(4n)
})
