/**
 * The start and the stop of a primary on a data directory, as its threads do them, without a mount: what a test can
 * run hundreds of times in its own process, with faults and traces.
 */

import { readClusterId } from "../../src/cluster/role/cluster-id.ts"
import { Deferred } from "../../src/fuse/deferred.ts"
import type { Logger } from "../../src/lib/log.ts"
import { Acknowledgements } from "../../src/mount/databases/acknowledgements.ts"
import { Refusals } from "../../src/mount/databases/refusals.ts"
import { Directory } from "../../src/mount/names/directory.ts"
import { openCommitLog } from "../../src/recovery/log/commit-log-recovery.ts"
import { type RecoveredDatabases, recoverDatabases } from "../../src/recovery/recover.ts"
import { Counters } from "../../src/store/counters.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import type { CommitLog } from "../../src/store/log/commit-log.ts"
import { GatedLog } from "../../src/store/log/gated-log.ts"
import { Positions } from "../../src/store/positions.ts"
import { SharedLag } from "../../src/store/shared-lag.ts"
import { closeFile, type Fd, O_RDONLY, openSpecial } from "../../src/sys/file.ts"
import { FakeClock } from "./fake-clock.ts"

export class RecoveredNode {
  /** What a peer thread does when the daemon has changed a database file. */
  forget: (database: string, then: () => void) => void = (_database, then) => then()
  readonly dataDir: DataDir
  readonly states: RecoveredDatabases
  readonly #lock: Fd
  readonly #below: Fd
  readonly #commitLog: CommitLog
  readonly directory: Directory
  readonly clock = new FakeClock()

  /** Throws when the node would not start. */
  static start(root: string, log: Logger): RecoveredNode {
    const dataDir = new DataDir(root)
    dataDir.create()
    const lock = dataDir.lock()
    try {
      dataDir.createImports()
      readClusterId(dataDir.clusterIdPath)
      return new RecoveredNode(dataDir, lock, log)
    } catch (error) {
      closeFile(lock)
      throw error
    }
  }

  private constructor(dataDir: DataDir, lock: Fd, log: Logger) {
    this.dataDir = dataDir
    this.#lock = lock
    this.#below = openSpecial("test:open", dataDir.root, O_RDONLY)
    this.#commitLog = openCommitLog(dataDir, log, { isFree: () => true, onFull: () => {} })
    const gate = new GatedLog()
    gate.open(this.#commitLog)
    const positions = Positions.create()
    this.states = recoverDatabases(dataDir, positions, log, undefined, {
      isSameBoot: false,
      unplaced: this.#commitLog.problems(),
    })
    const role = { isPrimary: true, primaryName: undefined, changedMs: 0 }
    const { clock } = this
    const context = {
      ...{ dataDir, positions, role, clock },
      nodeId: 1n,
      log: gate,
      lag: SharedLag.create(true),
      counters: Counters.create(),
      isPeer: () => false,
      onAppended() {},
      onCommit() {},
      onVanish() {},
      onWalRemoved() {},
      publish: () => {
        throw new Error("nobody publishes")
      },
      onRewrite: (database: string, then: () => void) => this.forget(database, then),
      onUnpassed() {},
      refusals: new Refusals(clock, role),
      onRefused() {},
      propose: () => new Deferred(),
      acknowledgements: new Acknowledgements({
        ...{ clock, isOn: false, isStrict: false },
        generation: () => 0,
        askBefore() {},
        askAfter() {},
        isDying: () => false,
      }),
      halts: { ask() {}, giveBack() {}, hold() {}, granted() {}, letGo() {} },
      forwarding: undefined,
      readOnlyOpens: false,
      bypass: () => undefined,
      lockedToWriteBy: () => undefined,
    }
    this.directory = new Directory(context, this.states)
    this.directory.mounted(this.#below)
  }

  /** Leaves the databases ready for a quick start. Throws when the commit log could not be emptied. */
  stop(): void {
    try {
      this.directory.databases.settle()
      this.#commitLog.clear()
    } finally {
      this.kill()
    }
  }

  /** Only gives back what a process gives back when it ends. */
  kill(): void {
    this.#commitLog.close()
    closeFile(this.#lock)
    closeFile(this.#below)
  }
}
