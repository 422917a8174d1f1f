import type { Clock } from "../../lib/clock.ts"
import type { Positions } from "../../store/positions.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import type { MountedDatabaseContext } from "../databases/mounted-database.ts"
import { MadeUpEntry } from "./entry.ts"
import type { Root } from "./root.ts"

const SIZE = 11

/** A node that has never been in sync shows this, as in the original. Its ten digits leave no room for the newline. */
const UNKNOWN_MS = 2 ** 31 - 1

/** `.lag`: how far this node is behind its primary: 11 bytes, `%+010d\n`, milliseconds. See store/shared-lag.ts. */
export class LagEntry extends MadeUpEntry {
  readonly #lag: SharedLag
  readonly #positions: Positions
  readonly #clock: Clock
  readonly #root: Root

  constructor(
    nodeId: number,
    name: string,
    root: Root,
    { lag, positions, clock }: Pick<MountedDatabaseContext, "lag" | "positions" | "clock">,
  ) {
    super(nodeId, name)
    this.#root = root
    this.#lag = lag
    this.#positions = positions
    this.#clock = clock
  }

  protected access(): FileAccess {
    return { ...this.#root.access, mode: 0o444 }
  }

  protected content(): string {
    return formatLag(this.#lag.lagMs(this.#positions, this.#clock.steadyMs()))
  }

  /** When this node last had everything: now on the primary, 1970 when it never had. */
  protected modifiedMs(): number {
    const lagMs = this.#lag.lagMs(this.#positions, this.#clock.steadyMs())
    return lagMs === undefined ? 0 : this.#clock.wallMs() - lagMs
  }
}

/** Beyond nine digits (11 days) the newline is cut off. */
export function formatLag(lagMs: number | undefined): string {
  const ms = lagMs === undefined ? UNKNOWN_MS : Math.min(Math.round(lagMs), UNKNOWN_MS - 1)
  return `+${String(ms).padStart(9, "0")}\n`.slice(0, SIZE)
}
