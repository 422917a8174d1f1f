/**
 * LTX files on their way from the main thread to a database: a file comes in parts, and waits its turn when it is
 * whole. The outcome is reported: `applied` or `refusedFile`.
 *
 * The way of a transaction to a client that has the database open:
 *
 *   main thread   cluster/replica/incoming-stream.ts ─▶ replica-progress.ts ─▶ cluster/locks/echo-filter.ts
 *                   ─▶ peer/peer-worker.ts
 *   here          receive() ─▶ incoming-file.ts ─▶ replica-databases.ts: its turn ─▶ replica-database.ts accept()
 *                   ─▶ follows-on.ts ─▶ store/log/commit-log.ts: durable ─▶ database-applier.ts
 *                   ─▶ wal/wal-applier.ts: WRITE ─▶ wal-writer.ts: the frames ─▶ wal-index-file.ts: clients see them
 *                   ─▶ setPosition() of replica-databases.ts ─▶ store/positions.ts
 *   the client    finds another header in the wal-index, and the frames in the WAL (mount/files/shm.ts, wal.ts)
 */
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { Later, type Sender } from "../../lib/port.ts"
import { isNoSpace } from "../../sys/errno.ts"
import type { PeerHost } from "../contract.ts"
import type { HeldLocks } from "../locks/held-locks.ts"
import type { HistoryVerdict } from "./history-verdict.ts"
import type { IncomingFile } from "./incoming-file.ts"
import type { ReplicaDatabases } from "./replica-databases.ts"

export interface IncomingFilesContext {
  readonly databases: ReplicaDatabases
  readonly locks: HeldLocks
  readonly main: Pick<Sender<PeerHost>, "tell">
}

export class IncomingFiles {
  readonly #context: IncomingFilesContext
  readonly #incoming = new Map<number, IncomingFile>()
  /** How many files of each database arrive, or wait to be applied. */
  readonly #counts = new Map<string, number>()

  constructor(context: IncomingFilesContext) {
    this.#context = context
  }

  /** Returns when the part is taken. */
  receive(file: number, name: string, bytes: Uint8Array, isLast: boolean): Later<void> | undefined {
    const { databases, locks, main } = this.#context
    try {
      databases.checkHere(name)
      const database = databases.database(name)
      const incoming = this.#incoming.get(file) ?? this.#begin(file, name)
      incoming.push(bytes)
      if (!isLast) return undefined
      incoming.finish()
      this.#incoming.delete(file)
      return new Later((taken) =>
        databases.enqueue(name, async () => {
          try {
            await database.accept(incoming)
            await locks.coverWal(name)
            main.tell("applied", file)
            this.#end(name)
          } catch (error) {
            incoming.discard()
            this.#end(name)
            this.#refuse(file, error)
          }
          taken()
        }),
      )
    } catch (error) {
      this.abort(file)
      this.#refuse(file, error)
      return undefined
    }
  }

  #begin(file: number, name: string): IncomingFile {
    const incoming = this.#context.databases.database(name).receive()
    this.#incoming.set(file, incoming)
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
    return incoming
  }

  /** One of the files of the database is applied, or will not be. */
  #end(name: string): void {
    const left = (this.#counts.get(name) ?? 1) - 1
    if (left > 0) return void this.#counts.set(name, left)
    this.#counts.delete(name)
    this.#context.databases.forgetIfNothing(name)
  }

  judge(file: number, name: string, verdict: HistoryVerdict): void {
    try {
      this.#begin(file, name).verdict = verdict
    } catch {
      // The first part of the file meets the same problem, and reports it.
    }
  }

  abort(file: number): void {
    const incoming = this.#incoming.get(file)
    if (incoming === undefined) return
    this.#incoming.delete(file)
    incoming.discard()
    this.#end(incoming.database)
  }

  /** Drops all incomplete files. */
  discard(): void {
    for (const file of [...this.#incoming.keys()]) this.abort(file)
  }

  #refuse(file: number, error: unknown): void {
    this.#context.main.tell("refusedFile", file, codeOf(error), messageOf(error))
  }
}

/** Bytes that cannot be decoded are invalid; every other error without a code is a failed system call. */
function codeOf(error: unknown): ErrorCode {
  if (error instanceof LitefsError) return error.code
  if (isNoSpace(error)) return "no-space"
  return error instanceof RangeError ? "invalid" : "io"
}
