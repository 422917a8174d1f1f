/**
 * How many LTX files there are, and their size: what the last maintenance has counted, and those that were made
 * since. Before the first one they are counted when somebody asks.
 */
import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { parseLtxFileName } from "../../ltx/file-name.ts"

export interface Usage {
  readonly count: number
  readonly size: number // bytes
}

export interface LtxUsageContext {
  /** What was made since the start. */
  made(database: string): Usage
  /** Where the files are. */
  directory(database: string): string
}

export class LtxUsage {
  /** What there was at the last count beyond what had been made by then. */
  readonly #base = new Map<string, Usage>()
  readonly #context: LtxUsageContext

  constructor(context: LtxUsageContext) {
    this.#context = context
  }

  counted(database: string, usage: Usage): void {
    this.#count(database, usage, this.#context.made(database))
  }

  /** Looks at those of which nothing is known. */
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

/** What has gone counts for nothing. Undefined when it cannot be known now: it is asked for again. */
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
