/**
 * The file that an export makes. Until finish() it has another name, beside the final one; whatever is there under
 * the final name stays as it is until then.
 *
 *   writing ── finish(): looked at, durable ──▶ in place
 *      └────── discard() ─────────────────────▶ gone
 */
import { existsSync, statSync } from "node:fs"
import { type FileHandle, link, open, rename, unlink } from "node:fs/promises"
import { dirname } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader } from "../sqlite/database-header.ts"

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
    this.#file ??= await open(this.#partPath, "wx+")
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done)
      done += bytesWritten
    }
    this.#size += bytes.length
  }

  async finish(): Promise<void> {
    await this.#verify()
    await this.#file?.sync()
    this.#checkWay()
    if (this.#replaces) await rename(this.#partPath, this.#path)
    else await link(this.#partPath, this.#path) // which does not replace what has appeared there since
    await syncDirectory(dirname(this.#path))
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
    throw new LitefsError(
      "damaged",
      `Cannot export to "${this.#path}": what came is not a whole SQLite database`,
    )
  }

  #checkWay(): void {
    const path = this.#path
    if (!this.#replaces && existsSync(path)) {
      throw new LitefsError("unavailable", `Cannot export to "${path}": it exists, use --force`)
    }
    // SQLite would take them for those of the new file, and play what is in them back.
    const stray = ["-wal", "-journal"].find((suffix) => sizeOf(path + suffix) > 0)
    if (stray === undefined) return
    throw new LitefsError(
      "unavailable",
      `Cannot export to "${path}": "${path}${stray}" belongs to another database, remove it`,
    )
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
