/** Where a replica's files go in a test without a mount: databases as pages in memory, as strict as the real ones. */
import type { LtxSink } from "../../src/cluster/replica/incoming-stream.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { Gate } from "../../src/lib/gate.ts"
import { isSnapshot } from "../../src/ltx/header.ts"
import { formatPos, type Pos, ZERO_POS } from "../../src/ltx/pos.ts"
import { concat } from "./bytes.ts"
import { decodeLtxFile } from "./ltx-file.ts"

interface Database {
  pos: Pos
  readonly pages: Map<number, Uint8Array>
}

export class MemorySink implements LtxSink {
  readonly databases = new Map<string, Database>()
  readonly changed = new Gate()
  /** TXIDs by which databases have advanced, in order: "app.db 1-3". */
  readonly applications: string[] = []
  abortCount = 0
  readonly #parts = new Map<number, Uint8Array[]>()
  readonly #outcomes = new Map<number, PromiseWithResolvers<void>>()

  positions(): Map<string, Pos> {
    return new Map([...this.databases].map(([name, { pos }]) => [name, pos]))
  }

  applied(file: number): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.#outcomes.set(file, outcome)
    this.#parts.set(file, [])
    return outcome.promise
  }

  write(file: number, name: string, bytes: Uint8Array, isLast: boolean, taken: () => void): void {
    this.#parts.get(file)?.push(bytes)
    if (isLast) this.#apply(file, name)
    taken()
  }

  abort(file: number): void {
    this.abortCount += 1
    this.#parts.delete(file)
    this.#outcomes.delete(file)
  }

  async at(name: string, pos: Pos): Promise<void> {
    while (formatPos(this.databases.get(name)?.pos ?? ZERO_POS) !== formatPos(pos)) {
      await this.changed.wait()
    }
  }

  #apply(file: number, name: string): void {
    const outcome = this.#outcomes.get(file)
    try {
      const { header, pages, trailer } = decodeLtxFile(concat(...(this.#parts.get(file) ?? [])))
      const database = this.databases.get(name) ?? { pos: ZERO_POS, pages: new Map() }
      const { pos } = database
      const follows = header.minTxid === pos.txid + 1n && header.preApplyChecksum === pos.checksum
      if (!follows && !isSnapshot(header)) {
        throw new LitefsError("position-mismatch", `${header.minTxid} after ${pos.txid}`)
      }
      if (isSnapshot(header)) database.pages.clear()
      for (const { pgno, data } of pages) database.pages.set(pgno, data)
      database.pos = { txid: header.maxTxid, checksum: trailer.postApplyChecksum }
      this.databases.set(name, database)
      this.applications.push(`${name} ${header.minTxid}-${header.maxTxid}`)
      outcome?.resolve()
    } catch (error) {
      outcome?.reject(error)
    }
    this.changed.open()
  }
}
