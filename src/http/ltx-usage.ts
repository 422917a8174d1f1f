/**
 * How many LTX files there are, and their size: what the last maintenance has counted, and those that were made
 * since. Nothing is known before the first one.
 */
export interface Usage {
  readonly count: number
  readonly size: number // bytes
}

export class LtxUsage {
  /** What there was at the last count beyond what had been made by then. */
  readonly #base = new Map<string, Usage>()
  readonly #made: (database: string) => Usage

  /** `made` is what was made since the start. */
  constructor(made: (database: string) => Usage) {
    this.#made = made
  }

  counted(database: string, { count, size }: Usage): void {
    const made = this.#made(database)
    this.#base.set(database, { count: count - made.count, size: size - made.size })
  }

  of(database: string): Usage | undefined {
    const base = this.#base.get(database)
    if (base === undefined) return undefined
    const made = this.#made(database)
    return { count: base.count + made.count, size: base.size + made.size }
  }
}
