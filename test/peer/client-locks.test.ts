/** The locks that the daemon takes as a client, against those of another process. */
import { describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { systemClock } from "../../src/lib/clock.ts"
import { ClientLocks } from "../../src/peer/locks/client-locks.ts"
import { HeldLocks } from "../../src/peer/locks/held-locks.ts"
import {
  CKPT,
  DMS,
  EXCLUSIVE,
  PENDING,
  READERS,
  RECOVER,
  RESERVED,
  readMark,
  releaseAndClose,
  SHARED,
  type SqliteLock,
  tryTake,
  WRITE,
} from "../../src/peer/locks/sqlite-locks.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { O_RDWR, openFile } from "../../src/sys/file.ts"
import { LockClient } from "../support/lock-client.ts"

const LONG_MS = 30_000
const SHORT_MS = 300

/** A directory with two databases, and processes that have their files open. */
class Mount {
  readonly directory = mkdtempSync(join(tmpdir(), "litefs-client-locks-"))
  readonly #scope = new AsyncDisposableStack()
  readonly #stopping = new AbortController()
  /** What is done at the gate of readers. */
  readonly gate: string[] = []
  isWal = false

  constructor() {
    this.#scope.defer(() => rmSync(this.directory, { recursive: true }))
    for (const name of ["db", "db-shm", "other"]) writeFileSync(join(this.directory, name), "")
  }

  path(file: string): string {
    return join(this.directory, file)
  }

  process(file: string): OtherProcess {
    return new OtherProcess(new LockClient(this.#scope, this.path(file)))
  }

  options(limitMs: number) {
    return {
      ...{ directory: this.directory, database: "db", clock: systemClock, limitMs },
      signal: this.#stopping.signal,
      isWalMode: () => this.isWal,
    }
  }

  writes(limitMs = LONG_MS): ClientLocks {
    const locks = new ClientLocks({
      ...this.options(limitMs),
      refusal: (process) => `it is ${process}`,
    })
    this.#scope.defer(() => locks.release())
    return locks
  }

  async lockOut(limitMs = LONG_MS): Promise<ClientLocks | undefined> {
    const locks = await ClientLocks.lockOut({
      ...this.options(limitMs),
      gateOf: () => ({
        close: () => {
          this.gate.push("closed")
          return () => this.gate.push("open")
        },
      }),
    })
    this.#scope.defer(() => locks?.release())
    return locks
  }

  stop(): void {
    this.#stopping.abort(new Error("the node is stopping"))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#scope.disposeAsync()
  }
}

class OtherProcess {
  readonly #client: LockClient

  constructor(client: LockClient) {
    this.#client = client
  }

  get pid(): number {
    return this.#client.pid
  }

  async take({ kind, start, size }: SqliteLock): Promise<boolean> {
    return (await this.#client.lock("posix", "set", kind, start, size)) === "ok"
  }

  async give({ start, size }: SqliteLock): Promise<void> {
    await this.#client.lock("posix", "set", "unlock", start, size)
  }

  /** Whether nobody else has a lock in the way of this one. */
  async isFree({ kind, start, size }: SqliteLock): Promise<boolean> {
    return (await this.#client.lock("posix", "get", kind, start, size)) === "free"
  }

  async until(isSo: () => Promise<boolean>): Promise<void> {
    const endMs = systemClock.monotonicMs() + 10_000
    while (!(await isSo())) {
      if (systemClock.monotonicMs() > endMs) throw new Error("it does not come to that")
      await Bun.sleep(5)
    }
  }

  untilTaken(lock: SqliteLock): Promise<void> {
    return this.until(async () => !(await this.isFree(lock)))
  }
}

const WHOLE: SqliteLock = { kind: "exclusive", start: 0, size: 0 }
const asShared = (lock: SqliteLock): SqliteLock => ({ ...lock, kind: "shared" })

describe("ClientLocks.lockOut()", () => {
  test("keeps writers out while it waits for readers, and new readers when they take long", async () => {
    await using mount = new Mount()
    const reader = mount.process("db")
    const other = mount.process("db")
    await reader.take(SHARED)
    const locking = mount.lockOut()
    await other.untilTaken(RESERVED)
    await other.untilTaken(asShared(PENDING))
    await reader.give(SHARED)
    const locks = await locking
    expect(await other.take(SHARED)).toBe(false)
    expect(locks?.shm).toBeUndefined()
    locks?.release()
    expect(await other.isFree(WHOLE)).toBe(true)
  })

  test("takes CKPT before WRITE, as a checkpoint does, and then everything", async () => {
    await using mount = new Mount()
    mount.isWal = true
    const client = mount.process("db-shm")
    await client.take(DMS)
    await client.take(CKPT)
    const locking = mount.lockOut()
    await client.untilTaken({ ...DMS, kind: "exclusive" })
    await Bun.sleep(30)
    expect(await client.take(WRITE)).toBe(true) // what it waits for next it does not hold yet
    await client.give(CKPT)
    await client.untilTaken(CKPT)
    expect(await client.isFree(RECOVER)).toBe(true)
    await client.give(WRITE)
    using _locks = await locking
    for (const lock of [CKPT, WRITE, RECOVER, ...[0, 1, 2, 3, 4].map((mark) => readMark(mark))]) {
      expect(await client.take(asShared(lock))).toBe(false)
    }
    expect(mount.gate).toEqual([])
  })

  test("keeps new readers of a WAL out when old ones take long, by their gate, and lets them in now and then", async () => {
    await using mount = new Mount()
    mount.isWal = true
    const reader = mount.process("db-shm")
    await reader.take(readMark(1, "shared"))
    const locking = mount.lockOut()
    await reader.until(async () => mount.gate.length === 3)
    expect(mount.gate).toEqual(["closed", "open", "closed"])
    await reader.give(READERS)
    await locking
    expect(mount.gate).toEqual(["closed", "open", "closed", "open"])
  })

  test.each([
    ["RESERVED", "db", RESERVED, false],
    ["PENDING", "db", PENDING, false],
    ["SHARED", "db", SHARED, false],
    ["EXCLUSIVE in WAL mode", "db", EXCLUSIVE, true],
    ["DMS alone", "db-shm", { ...DMS, kind: "exclusive" }, true],
    ["CKPT", "db-shm", CKPT, true],
    ["WRITE", "db-shm", WRITE, true],
    ["RECOVER", "db-shm", asShared(RECOVER), true],
    ["READ0", "db-shm", readMark(0, "shared"), true],
    ["READ3", "db-shm", readMark(3, "shared"), true],
  ] as const)(
    "leaves nothing behind when %s is in the way, and names who has it",
    async (_, file, lock, isWal) => {
      await using mount = new Mount()
      mount.isWal = isWal
      const holder = mount.process(file)
      await holder.take(lock)
      await expect(mount.lockOut(SHORT_MS)).rejects.toThrow(
        new RegExp(
          `^Cannot lock database "db": clients .* for 300ms, one is process ${holder.pid} `,
        ),
      )
      const elsewhere = mount.process(file === "db" ? "db-shm" : "db")
      expect(await holder.isFree(WHOLE)).toBe(true)
      expect(await elsewhere.isFree(WHOLE)).toBe(true)
      expect(mount.gate.filter((each) => each === "closed")).toHaveLength(mount.gate.length / 2)
      expect(mount.gate.at(-1)).not.toBe("closed")
    },
  )

  test("leaves nothing behind when the node stops", async () => {
    await using mount = new Mount()
    mount.isWal = true
    const reader = mount.process("db-shm")
    await reader.take(readMark(1, "shared"))
    const locking = mount.lockOut()
    await reader.untilTaken(RECOVER)
    mount.stop()
    await expect(locking).rejects.toThrow("the node is stopping")
    expect(await reader.isFree(WHOLE)).toBe(true)
    expect(await mount.process("db").isFree(WHOLE)).toBe(true)
  })

  test("of no file is nothing", async () => {
    await using mount = new Mount()
    rmSync(mount.path("db"))
    expect(await mount.lockOut()).toBeUndefined()
  })
})

describe("ClientLocks of writes", () => {
  test("let clients read in a rollback mode", async () => {
    await using mount = new Mount()
    const client = mount.process("db")
    await client.take(SHARED)
    const locks = mount.writes()
    expect(await locks.take()).toBe(true)
    expect([locks.holdsReserved, locks.holdsWrite]).toEqual([true, false])
    expect(await client.take(asShared(PENDING))).toBe(true)
    expect(await client.take(SHARED)).toBe(true)
    expect(await client.take(RESERVED)).toBe(false)
  })

  test("let clients read and checkpoint in WAL mode", async () => {
    await using mount = new Mount()
    mount.isWal = true
    const client = mount.process("db-shm")
    await client.take(readMark(1, "shared"))
    const locks = mount.writes()
    await locks.take()
    expect([locks.holdsReserved, locks.holdsWrite]).toEqual([false, true])
    expect(await client.take(WRITE)).toBe(false)
    for (const lock of [CKPT, RECOVER, readMark(0), DMS]) {
      expect(await client.take(lock)).toBe(true)
    }
    expect(await client.take({ ...DMS, kind: "exclusive" })).toBe(false)
  })

  test("keep readers out beside the journal of a dead writer, until the daemon applies", async () => {
    await using mount = new Mount()
    writeFileSync(mount.path("db-journal"), "\xd9")
    const client = mount.process("db")
    const locks = mount.writes()
    await locks.take()
    expect(await client.isFree(SHARED)).toBe(false)
    locks.applying()
    expect(await client.isFree(SHARED)).toBe(true)
    expect(await client.isFree(PENDING)).toBe(true)
    expect(await client.isFree(RESERVED)).toBe(false)
  })

  test("leave the journal to a writer that lives", async () => {
    await using mount = new Mount()
    writeFileSync(mount.path("db-journal"), "\xd9")
    const [writer, reader] = [mount.process("db"), mount.process("db")]
    await writer.take(RESERVED)
    const taking = mount.writes().take()
    await Bun.sleep(20)
    expect(await reader.isFree(SHARED)).toBe(true)
    rmSync(mount.path("db-journal"))
    await writer.give(RESERVED)
    await taking
    expect(await reader.isFree(SHARED)).toBe(true)
    expect(await reader.isFree(RESERVED)).toBe(false)
  })

  test("cover a WAL that comes later, and keep what they hold when its WRITE is not to be had", async () => {
    await using mount = new Mount()
    const [client, writer] = [mount.process("db"), mount.process("db-shm")]
    const locks = mount.writes(SHORT_MS)
    await locks.take()
    locks.applying()
    mount.isWal = true
    await writer.take(WRITE)
    await expect(locks.coverWal()).rejects.toThrow(`it is ${writer.pid} `)
    expect(locks.holdsWrite).toBe(false)
    expect(await client.isFree(RESERVED)).toBe(false)
    await writer.give(WRITE)
    await locks.coverWal()
    expect(locks.holdsWrite).toBe(true)
    expect(await writer.take(WRITE)).toBe(false)
    locks.release()
    expect(await writer.isFree(WHOLE)).toBe(true)
  })

  test("exclude readers for a while", async () => {
    await using mount = new Mount()
    const client = mount.process("db")
    const locks = mount.writes()
    await locks.take()
    await client.take(SHARED)
    const excluding = locks.excludeReaders(undefined, () => ({ close: () => () => {} }))
    await client.untilTaken(asShared(PENDING))
    await client.give(SHARED)
    const exclusive = await excluding
    expect(await client.take(SHARED)).toBe(false)
    exclusive[Symbol.dispose]()
    expect(await client.take(SHARED)).toBe(true)
    expect(await client.isFree(RESERVED)).toBe(false)
  })

  test("exclude readers of a WAL for a while, and keep its writers out", async () => {
    await using mount = new Mount()
    mount.isWal = true
    const [file, index] = [mount.process("db"), mount.process("db-shm")]
    const locks = mount.writes()
    await locks.take()
    await index.take(readMark(1))
    const gate: string[] = []
    const excluding = locks.excludeReaders(undefined, () => ({
      close: () => {
        gate.push("closed")
        return () => gate.push("open")
      },
    }))
    await index.until(async () => gate.includes("closed"))
    await index.give(readMark(1))
    const exclusive = await excluding
    for (const lock of [CKPT, RECOVER, READERS, WRITE]) expect(await index.isFree(lock)).toBe(false)
    expect(gate.at(-1)).toBe("open")
    exclusive[Symbol.dispose]()
    for (const lock of [CKPT, RECOVER, READERS]) expect(await index.isFree(lock)).toBe(true)
    expect(await index.isFree(WRITE)).toBe(false)
    expect(await file.isFree(EXCLUSIVE)).toBe(false)
    locks.release()
    expect(await index.isFree(WRITE)).toBe(true)
  })

  test("that are given up while they wait take nothing more", async () => {
    await using mount = new Mount()
    const client = mount.process("db")
    await client.take(RESERVED)
    const locks = mount.writes()
    const taking = locks.take()
    await Bun.sleep(10)
    locks.release()
    await expect(taking).rejects.toThrow("given up")
    expect(await client.isFree(WHOLE)).toBe(true)
  })
})

describe("HeldLocks", () => {
  test("holds the locks of all databases, or of none", async () => {
    await using mount = new Mount()
    const held = new HeldLocks({
      ...{ fuseDir: mount.directory, hostname: "here", dataDir: new DataDir(mount.directory) },
      signal: new AbortController().signal,
    })
    const [client, other] = [mount.process("db"), mount.process("other")]
    await client.take(RESERVED)
    const databases = ["db", "other", "missing"]
    expect(await other.isFree(WHOLE)).toBe(true)
    const taking = held.lockWrites(databases, 1000, true)
    await other.untilTaken(RESERVED)
    await expect(taking).rejects.toThrow(
      new RegExp(
        `^Cannot stop writes to database "db": .* for 1s, process ${client.pid} .* on "here"`,
      ),
    )
    expect(await other.isFree(WHOLE)).toBe(true)

    await client.give(RESERVED)
    const lock = await held.lockWrites(databases, 1000, true)
    held.applying("db", lock)
    expect(held.reserved("db")?.holdsReserved).toBe(true)
    expect(held.reserved("other")).toBeUndefined() // it is not lent
    held.unlockWrites(lock)
    expect(held.reserved("db")).toBeUndefined()
    expect([await client.isFree(WHOLE), await other.isFree(WHOLE)]).toEqual([true, true])
  })

  test("keeps clients from a WAL until it lets them go, and locks nothing of it anew", async () => {
    await using mount = new Mount()
    const held = new HeldLocks({
      ...{ fuseDir: mount.directory, hostname: "here", dataDir: new DataDir(mount.directory) },
      signal: new AbortController().signal,
    })
    const [file, index] = [mount.process("db"), mount.process("db-shm")]
    const [other, rollback] = [mount.process("other"), await held.lockWrites(["other"], 1000, true)]
    expect(() => held.checkWrites(rollback, ["other"])).toThrow("its WAL past LiteFS, try again")
    held.unlockAll()
    const lock = await held.lockWrites(["db", "other"], 1000, true, ["db"])
    held.checkWrites(lock, ["db"])
    expect(() => held.checkWrites(lock, ["db", "missing"])).toThrow(
      /^Cannot stop writes to .*"missing"/,
    )
    held.keep(["db"], lock)
    held.unlockAll()
    expect(await other.isFree(WHOLE)).toBe(true)
    expect([held.holdsWrite("db"), held.holdsWrite("other")]).toEqual([true, false])
    expect(await index.isFree(WRITE)).toBe(false)
    expect(await file.take(SHARED)).toBe(true)
    expect(await file.take(EXCLUSIVE)).toBe(false)
    await expect(held.lockWrites(["db"], 1000, true)).rejects.toThrow("past LiteFS")
    held.letKeptGo("db")
    expect(held.kept("db")).toBeUndefined()
    expect(await index.isFree(WHOLE)).toBe(true)
    await held.lockWrites(["db"], 1000, true)
    held.unlockAll()
  })
})

test("tryTake() takes all locks or none", async () => {
  await using mount = new Mount()
  const client = mount.process("db-shm")
  await client.take(asShared(RECOVER))
  const shm = openFile("test", mount.path("db-shm"), O_RDWR)
  expect(tryTake(shm, CKPT, WRITE, RECOVER, DMS)).toBe(false)
  expect(await client.isFree(WHOLE)).toBe(true)
  await client.give(RECOVER)
  expect(tryTake(shm, CKPT, RECOVER)).toBe(true)
  expect([await client.isFree(CKPT), await client.isFree(RECOVER)]).toEqual([false, false])
  releaseAndClose(shm)
  expect(await client.isFree(WHOLE)).toBe(true)
})
