/**
 * Watches for a copy of this node that has become the primary: a record names this node's id at another address.
 * Anybody can say so, so it counts only when the node at that address confirms it.
 */
import { logger } from "../../lib/log.ts"
import { isNewer, type LeaseRecord } from "./lease.ts"
import type { PeerCalls } from "./peer-answer.ts"

const log = logger("member")

export interface CopyWatchOptions extends Pick<PeerCalls, "isCopy"> {
  /** There is a copy, by this record. */
  found(record: LeaseRecord): void
}

export class CopyWatch {
  readonly #options: CopyWatchOptions
  #record: LeaseRecord | undefined
  #isLooking = false

  constructor(options: CopyWatchOptions) {
    this.#options = options
  }

  /** The record of the last copy that was the primary. It is never kept: it names this node, too. */
  get record(): LeaseRecord | undefined {
    return this.#record
  }

  /** Such a record was heard. */
  look(record: LeaseRecord): void {
    if (this.#isLooking || !isNewer(record, this.#record)) return
    this.#isLooking = true
    void this.#look(record).finally(() => {
      this.#isLooking = false
    })
  }

  async #look(record: LeaseRecord): Promise<void> {
    const { url } = record.primary
    try {
      if (!(await this.#options.isCopy(url))) return
    } catch (error) {
      return log.debug("cannot ask the node that may be a copy of this one", { url, error })
    }
    this.#record = record
    this.#options.found(record)
  }
}
