/**
 * The fs thread of a simulated node. Clients hand it whole transactions, where the mount has requests of SQLite. The
 * transaction is made by the product's History, behind its GatedLog and its Acknowledgements, or by its ProposingLog and
 * its Proposals when the write lock is borrowed. Here is what stands for the commit log, and for mounted-databases.ts:
 * which databases this thread has, and what gives and takes them.
 */
import { type DatabaseHandover, historyState, sharedState } from "../../src/capture/handover.ts"
import { emptyHistoryState, History, type HistoryState } from "../../src/capture/history.ts"
import { Ownership } from "../../src/capture/ownership.ts"
import { Proposal, ProposingLog } from "../../src/capture/proposal.ts"
import type { Deferred } from "../../src/fuse/deferred.ts"
import { type ErrorCode, LitefsError } from "../../src/lib/errors.ts"
import type { Outcome } from "../../src/lib/outcome.ts"
import { type Offers, Port } from "../../src/lib/port.ts"
import { type Pos, ZERO_POS } from "../../src/ltx/pos.ts"
import { posAfter, posBefore, spanOf } from "../../src/ltx/span.ts"
import type { FsHost, FsThread, FsThreadOfPeer } from "../../src/mount/contract.ts"
import { Acknowledgements, Unsynced } from "../../src/mount/databases/acknowledgements.ts"
import { errnoOf } from "../../src/mount/databases/errno.ts"
import { Proposals } from "../../src/mount/databases/proposals.ts"
import type { TransactionLog } from "../../src/store/log/commit-log.ts"
import { GatedLog } from "../../src/store/log/gated-log.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import type { Pages } from "./disk.ts"
import { firstPage, PAGE_COUNT, PAGE_SIZE, valuePage } from "./pages.ts"
import { historyStateOf, type SharedByThreads } from "./shared.ts"
import { SimulatedThread, SimulatedWorker } from "./thread.ts"

/** Until the LTX file of a transaction is there. */
const STORE_MS = 0.1

/** One transaction of a client: the page that it writes, and a number that no other has. */
export interface Write {
  readonly database: string
  readonly page: number
  readonly number: number
}

export interface WriteOutcome {
  /** 0: it is committed. */
  readonly errno: number
  /** SQLITE_BUSY: nothing was tried. */
  readonly isBusy: boolean
  /** That it has led to here, if it was made here. */
  readonly pos: Pos | undefined
}

interface Captured {
  readonly history: History
  readonly borrowed: ProposingLog | undefined
  pages: Pages
}

type Contract = FsThread & FsThreadOfPeer

export class SimulatedFsThread {
  readonly worker: SimulatedWorker
  readonly #thread: SimulatedThread
  readonly #shared: SharedByThreads
  readonly #port: Port<Contract, FsHost>
  readonly #gate: GatedLog
  readonly #acknowledgements: Acknowledgements
  readonly #proposals: Proposals
  /** The databases that this thread has. */
  readonly #captured = new Map<string, Captured>()
  readonly #ownership = new Ownership(false)
  #next: Pages = new Map() // of the transaction that is being made
  #made: Pos | undefined

  constructor(shared: SharedByThreads, sync: "strict" | "degrade" | undefined) {
    const { process, databases, canary } = shared
    const { flags } = databases
    const thread = new SimulatedThread(process)
    this.#shared = shared
    this.#thread = thread
    this.#gate = new GatedLog(() => canary === "no-fencing" || this.#mayCommit)
    this.worker = new SimulatedWorker(thread, (message) => this.#port.receive(message))
    this.#port = new Port<Contract, FsHost>({
      send: (message) => this.worker.answer(message),
      offers: this.#offers,
    })
    this.#acknowledgements = new Acknowledgements({
      clock: process.clock,
      isOn: sync !== undefined,
      isStrict: sync === "strict",
      generation: () => flags.syncGeneration,
      askBefore: (database, isPatient, then) => {
        this.#port.ask("mayCommit", database, isPatient, (outcome) => then(refusalOf(outcome)))
      },
      askAfter: ({ database, pos, isBorrowed }, then) => {
        this.#port.ask("acknowledged", database, pos, isBorrowed, (outcome) => {
          then(refusalOf(outcome))
        })
      },
      isDying: () => false,
    })
    this.#proposals = new Proposals({
      ask: ({ database, bytes }, then) => {
        this.#port.ask("propose", database, bytes, (outcome) => then(refusalOf(outcome)))
      },
      behind: (database) => this.#port.tell("behind", database),
      begin: () => this.#acknowledgements.begin(),
      finish: (deferred) => this.#acknowledgements.finish(deferred),
    })
  }

  /** The commit log looks once more when a transaction is durable (store/log/commit-log.ts). */
  get #mayCommit(): boolean {
    return this.#thread.machineMs < this.#shared.databases.flags.commitUntilMs
  }

  /** A client commits. */
  write(write: Write, answered: (outcome: WriteOutcome) => void): void {
    this.#thread.deliver(() => this.#write(write, answered))
  }

  #write(write: Write, answered: (outcome: WriteOutcome) => void): void {
    const { database } = write
    const { locks } = this.#shared
    if (!locks.beginWriting(database)) {
      return answered({ errno: 0, isBusy: true, pos: undefined })
    }
    let pos: Pos | undefined
    const finish = (errno: number) => {
      this.#thread.show(() => {
        locks.endWriting(database)
        answered({ errno, isBusy: false, pos })
      })
    }
    const act = () => {
      this.#append(write)
      pos = this.#made
    }
    let deferred: Deferred | undefined
    try {
      deferred = this.#acknowledgements.request(act)
    } catch (error) {
      if (error instanceof Proposal) deferred = this.#proposals.add(error, act, () => {})
      else if (error instanceof Unsynced) {
        const held = { thread: 0, isPatient: true }
        deferred = this.#acknowledgements.hold(error, held, act, () => {})
      } else return finish(errnoOf(error))
    }
    if (deferred === undefined) finish(0)
    else deferred.bind(finish)
  }

  #append({ database, page, number }: Write): void {
    const captured = this.#find(database)
    const { history, borrowed } = captured
    const isNew = history.commit === 0
    const pages = new Map(captured.pages)
    pages.set(1, firstPage(number))
    for (let pgno = 2; pgno <= PAGE_COUNT; pgno++) {
      if (isNew || pgno === page) pages.set(pgno, valuePage(number))
    }
    this.#next = pages
    const before = history.pos
    history.append({
      ...{ pageSize: PAGE_SIZE, commit: PAGE_COUNT, pgnos: [...pages.keys()].sort() },
      readPage: (pgno, into) => into.bytes.set(pages.get(pgno) as Uint8Array),
    })
    captured.pages = pages
    this.#made = history.pos
    this.#committed(database, before, history, borrowed === undefined)
    this.#acknowledgements.committed({
      ...{ database, pos: history.pos, isBorrowed: borrowed !== undefined, thread: 0 },
    })
  }

  #find(database: string): Captured {
    const known = this.#captured.get(database)
    if (known !== undefined) return known
    if (!this.#ownership.has(database)) {
      throw new LitefsError("no-primary", "this node is a replica")
    }
    this.#capture(database, emptyHistoryState(), new Map())
    return this.#captured.get(database) as Captured
  }

  #capture(database: string, state: HistoryState, pages: Pages, log?: ProposingLog): void {
    const { process, databases, nodeId } = this.#shared
    databases.positions.add(database)
    const onAppend = () => {
      if (log === undefined) this.#acknowledgements.check(database, history.pos.txid)
    }
    const history: History = new History(database, state, {
      ...{ log: log ?? this.#gate, ltx: new LtxDirectory(`/${database}`), nodeId: nodeId() },
      ...{ clock: process.clock, onAppend },
    })
    this.#captured.set(database, { history, borrowed: log, pages })
  }

  /** The transaction is durable when the thread has waited for the disk. */
  #committed(database: string, before: Pos, history: History, isOwn: boolean): void {
    const { process, databases, disk, account } = this.#shared
    const { pos, pageSize, commit, timestampMs } = history
    const { positions, recent, flags } = databases
    const { name } = process
    const { pages } = this.#captured.get(database) as Captured
    const tell = () => {
      if (flags.raiseChanged()) this.#port.tell("changed")
    }
    account.reached(name, { database, before, after: pos, pages, isNew: true })
    if (isOwn) {
      // It is committed then, also when the process is stopped before anybody hears of it.
      process.scheduler.after(this.#thread.doneAtMs - process.scheduler.nowMs, () => {
        if (process.isAlive) account.committed(name, database, pos)
      })
    }
    this.#thread.show(() => {
      const slot = positions.add(database)
      positions.write(slot, { pos, pageSize, commit, timestampMs }, undefined)
      const bytes = disk.following(database, before)?.bytes
      if (isOwn && bytes !== undefined) recent.add(slot, pos.txid, bytes)
      tell()
      process.after(STORE_MS, () => {
        if (positions.read(slot).pos.txid === pos.txid) positions.markStored(slot)
        tell()
      })
    })
  }

  /** Stands for the commit log, and for the LTX files. */
  readonly #log: TransactionLog = {
    materialize: () => {},
    sync: () => {},
    clear: () => {},
    begin: (database) => {
      const parts: Uint8Array[] = []
      const commit = () => {
        const { disk, canary } = this.#shared
        disk.checkRoom()
        this.#thread.takes(disk.nextSyncMs())
        const isHere = this.#captured.get(database)?.borrowed === undefined
        if (isHere && !this.#mayCommit && canary !== "no-fencing") {
          throw new LitefsError("no-primary", "Cannot commit: the lease has run out meanwhile")
        }
        const bytes = Buffer.concat(parts)
        const span = spanOf(bytes)
        const { header } = span
        disk.append(database, {
          ...{ bytes, minTxid: header.minTxid, durableAtMs: this.#thread.doneAtMs },
          before: header.minTxid === 1n ? ZERO_POS : posBefore(header),
          isWhole: header.minTxid === 1n,
          after: {
            ...{ pos: posAfter(span), pageSize: header.pageSize, commit: header.commit },
            ...{ timestampMs: header.timestampMs, pages: this.#next },
          },
        })
      }
      return { append: (bytes) => void parts.push(bytes.slice()), commit, discard: () => {} }
    },
  }

  /** A database without content, for another node that will write to it. */
  make(database: string): void {
    if (this.#ownership.has(database)) this.#find(database)
  }

  #give(name: string): DatabaseHandover {
    const captured = this.#captured.get(name)
    if (captured === undefined) throw new LitefsError("not-found", `database not found: "${name}"`)
    this.#captured.delete(name)
    const nothing = { wal: undefined, isWalOpen: false, disguise: 0, isUndone: false }
    return { name, state: sharedState(captured.history), ...nothing }
  }

  #take({ name, state }: DatabaseHandover, log?: ProposingLog): void {
    if (state === undefined) return
    this.#capture(name, historyState(state), this.#shared.disk.state(name).pages, log)
  }

  #refuse(database: string): void {
    this.#proposals.refuseAll(database)
    this.#acknowledgements.refuse(database)
  }

  get #offers(): Offers<Contract> {
    const nothing = () => {}
    return {
      start: ({ isPrimary }) => {
        if (!isPrimary) return []
        this.#ownership.inherit()
        this.#gate.open(this.#log)
        for (const name of this.#shared.disk.names) {
          const stored = this.#shared.disk.state(name)
          this.#capture(name, historyStateOf(stored), stored.pages)
          const { positions } = this.#shared.databases
          positions.write(positions.add(name), stored, stored.pos)
        }
        return []
      },
      serve: () => 1,
      follow: () => undefined,
      freeze: (snapshot, database) => {
        const captured = this.#captured.get(database)
        if (captured === undefined || captured.history.commit === 0) return undefined
        const { pos, pageSize, commit, timestampMs } = captured.history
        const state = { pos, pageSize, commit, timestampMs, pages: captured.pages }
        this.#shared.frozen.set(snapshot, state)
        return state as never
      },
      thaw: (snapshot) => void this.#shared.frozen.delete(snapshot),
      written: () => undefined,
      shut: () => this.#gate.shut(),
      open: () => this.#gate.open(),
      handOver: () => {
        this.#gate.shut()
        this.#acknowledgements.refuse()
        this.#ownership.handOver()
        return [...this.#captured.keys()].map((name) => this.#give(name))
      },
      inherit: (handovers) => {
        this.#shared.databases.recent.clear()
        this.#gate.open(this.#log)
        this.#ownership.inherit()
        for (const handover of handovers) this.#take(handover)
      },
      passed: () => [],
      bar: nothing,
      lending: nothing,
      lend: (database) => {
        const handover = this.#give(database)
        this.#ownership.lend(database)
        return handover
      },
      takeBack: (handover) => {
        this.#ownership.takeBack(handover.name)
        this.#take(handover)
      },
      borrow: (handover) => {
        this.#ownership.borrow(handover.name)
        this.#take(handover, new ProposingLog(this.#log))
      },
      giveBack: (database) => {
        this.#refuse(database)
        this.#ownership.giveBack(database)
        return this.#give(database)
      },
      closing: nothing,
      lost: (database) => {
        this.#captured.get(database)?.borrowed?.shut()
        this.#refuse(database)
      },
      writerLate: nothing,
      replace: () => {
        throw new LitefsError("unsupported", "nobody imports here")
      },
      recovered: nothing,
      retire: nothing,
      measure: nothing,
      primary: nothing,
      dropped: nothing,
      undoneForgotten: nothing,
      switched: nothing,
      staleWriter: nothing,
      lockFileWanted: nothing,
      lockFileUnwanted: nothing,
    }
  }

  /** A client asks for the lock that lets it write here, whoever is the primary: flock(2) on `<db>-lock`. */
  borrow(database: string, then: (code: ErrorCode | undefined) => void): void {
    this.#thread.deliver(() => {
      this.#port.ask("borrowForFlock", database, true, (outcome) => then(refusalOf(outcome)))
    })
  }

  giveBack(database: string): void {
    this.#thread.deliver(() => this.#port.tell("giveBack", database, "flock", false))
  }
}

function refusalOf(outcome: Outcome<ErrorCode | undefined>): ErrorCode | undefined {
  return outcome.kind === "done" ? outcome.value : outcome.code
}
