import { expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ROOT_ID } from "../../src/fuse/filesystem.ts"
import type { PassedEntry } from "../../src/mount/files/passed-entry.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"

const CALLER = { uid: 0, gid: 0, pid: process.pid }

/**
 * On a replica that was the primary: the last client that passed has gone, the peer thread has given WRITE up, and a
 * reader came before it had opened the WAL anew. Seen by scripts/soak, once in 400 borrowed locks: the borrower passed,
 * its commit asked nobody, and the database was unavailable when the lock went back.
 */
test.each(["log", "index"] as const)(
  "nobody borrows a database whose %s the kernel has open past the daemon",
  (which) => {
    const root = mkdtempSync(join(tmpdir(), "litefs-borrowed-passed-"))
    const node = RecoveredNode.start(root, new RecordedLog().logger)
    try {
      const { directory } = node
      directory.create(ROOT_ID, "a.db", 0, 0o600, CALLER, { handle: 0, flags: 0, backingId: 0 })
      const { databases } = directory
      const handover = databases.lend("a.db")
      const database = databases.get("a.db")
      database[which] = { isPassed: true } as PassedEntry
      expect(() => databases.borrow(handover)).toThrow(/Cannot write .* past LiteFS, try again/)
      expect(database.isBorrowed).toBe(false)
      database[which] = undefined
      databases.borrow(handover)()
      expect(database.isBorrowed).toBe(true)
    } finally {
      node.kill()
      rmSync(root, { recursive: true })
    }
  },
)
