/**
 * The number and the size of LTX files: the count of the last maintenance, plus the files made since. Before the first
 * maintenance they are counted on demand.
 */
import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { parseLtxFileName } from "../../ltx/file-name.ts"

export interface Usage {
  readonly count: number
  readonly size: number // bytes
}

export interface LtxUsageContext {
  /** The files made since the start. */
  made(database: string): Usage
  directory(database: string): string
}

export class LtxUsage {
  /** The last count, less what had been made by then. */
  readonly #base = new Map<string, Usage>()
  readonly #context: LtxUsageContext

  constructor(context: LtxUsageContext) {
    this.#context = context
  }

  counted(database: string, usage: Usage): void {
    this.#count(database, usage, this.#context.made(database))
  }

  /** Counts those of which nothing is known. */
  async learn(databases: Iterable<string>): Promise<void> {
    for (const database of databases) {
      if (this.#base.has(database)) continue
      const made = this.#context.made(database)
      const usage = await usageOf(this.#context.directory(database))
      if (usage !== undefined && !this.#base.has(database)) this.#count(database, usage, made)
    }
  }

  of(database: string): Usage | undefined {
    const base = this.#base.get(database)
    if (base === undefined) return undefined
    const made = this.#context.made(database)
    return { count: base.count + made.count, size: base.size + made.size }
  }

  #count(database: string, { count, size }: Usage, made: Usage): void {
    this.#base.set(database, { count: count - made.count, size: size - made.size })
  }
}

/** Files that have gone count for nothing. Undefined when it is unknown now: it is asked again. */
async function usageOf(directory: string): Promise<Usage | undefined> {
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? { count: 0, size: 0 } : undefined
  }
  let [count, size] = [0, 0]
  for (const name of names.filter((each) => parseLtxFileName(each) !== undefined)) {
    const status = await stat(join(directory, name)).catch(() => undefined)
    if (status === undefined) continue
    count += 1
    size += status.size
  }
  return { count, size }
}
