/**
 * The file that an export makes. Until finish() it has another name, beside the final one; whatever is there under
 * the final name stays as it is until then, and is kept beside it afterwards, unless it is to be replaced.
 *
 *   writing ── finish(): looked at, durable ──▶ in place
 *      └────── discard() ─────────────────────▶ gone
 */
import { existsSync, statSync } from "node:fs"
import { type FileHandle, link, open, rename, unlink } from "node:fs/promises"
import { dirname } from "node:path"
import { LitefsError } from "../../lib/errors.ts"
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader } from "../../sqlite/database-header.ts"
import { errnoText } from "../../sys/errno.ts"

export class ExportFile {
  readonly #path: string
  readonly #partPath: string
  readonly #replaces: boolean
  #file: FileHandle | undefined
  #size = 0

  /** Throws when there is something in the way. */
  constructor(path: string, replaces: boolean) {
    this.#path = path
    this.#partPath = `${path}.tmp-${process.pid}`
    this.#replaces = replaces
    this.#checkWay()
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#file ??= await this.#attempt(open(this.#partPath, "wx+"))
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.length - done
      const { bytesWritten } = await this.#attempt(this.#file.write(bytes, done, rest))
      done += bytesWritten
    }
    this.#size += bytes.length
  }

  /** Returns where the file is now that was there; undefined when there was none, or it is replaced. */
  async finish(nowMs: number): Promise<string | undefined> {
    await this.#verify()
    await this.#attempt(this.#file?.sync())
    this.#checkWay()
    const kept = await this.#attempt(this.#putInPlace(nowMs))
    await syncDirectory(dirname(this.#path))
    return kept
  }

  async #putInPlace(nowMs: number): Promise<string | undefined> {
    if (!this.#replaces && !existsSync(this.#path)) {
      await link(this.#partPath, this.#path) // which does not replace what has appeared there since
      return undefined
    }
    const kept = this.#replaces ? undefined : `${this.#path}.replaced-${nowMs}`
    if (kept !== undefined) await link(this.#path, kept)
    await rename(this.#partPath, this.#path)
    return kept
  }

  /** After finish(), or instead of it. */
  async discard(): Promise<void> {
    await this.#file?.close()
    if (this.#file !== undefined && existsSync(this.#partPath)) await unlink(this.#partPath)
    this.#file = undefined
  }

  async #verify(): Promise<void> {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
    await this.#file?.read(bytes, 0, DATABASE_HEADER_SIZE, 0)
    const header = decodeDatabaseHeader(bytes)
    if (header !== undefined && this.#size % header.pageSize === 0) return
    throw this.#refusal("damaged", "what came is not a whole SQLite database")
  }

  #checkWay(): void {
    const path = this.#path
    const status = statSync(path, { throwIfNoEntry: false })
    if (status?.isFile() === false) {
      throw this.#refusal("unavailable", "it is not a file, choose another PATH")
    }
    // SQLite would take them for those of the new file, and play what is in them back.
    const stray = ["-wal", "-journal"].find((suffix) => sizeOf(path + suffix) > 0)
    if (stray === undefined) return
    const problem = `"${path}${stray}" belongs to another database, remove it`
    throw this.#refusal("unavailable", problem)
  }

  async #attempt<T>(work: Promise<T> | undefined): Promise<T> {
    try {
      return (await work) as T
    } catch (error) {
      const { code, errno } = error as NodeJS.ErrnoException
      if (code === undefined || errno === undefined) throw error
      const isMissing = code === "ENOENT"
      const problem = isMissing
        ? `there is no directory "${dirname(this.#path)}"`
        : errnoText(Math.abs(errno))
      throw this.#refusal("io", problem, error)
    }
  }

  #refusal(code: "damaged" | "unavailable" | "io", problem: string, cause?: unknown): LitefsError {
    return new LitefsError(code, `Cannot export to "${this.#path}": ${problem}`, { cause })
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
