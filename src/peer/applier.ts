/** How a transaction that is stored in an LTX file gets into a database that clients have open. */
import type { LtxHeader } from "../ltx/header.ts"

export interface Application {
  readonly path: string // of the LTX file, whole and verified
  readonly header: LtxHeader
  readonly pgnos: readonly number[] // the pages in it, ascending
  /** There is no such database yet, for any client. */
  readonly isNew: boolean
  /** What the mount adds to the counters in the header of the file, 0 as a rule: see mount/header-disguise.ts. */
  readonly disguise: number
  /** Called before these bytes of the database file change. */
  overwriting(offset: number, size: number): void
  /** Called when the content is in place and before any client can see it. */
  publish(): void
}

export interface Applier {
  apply(application: Application): Promise<void>
  /** Closes what is open in the mount. The next apply() opens it again. */
  detach(): void
}
