/**
 * The file that an export makes. Until finish() it has another name, beside the final one. An existing file under the
 * final name stays as it is until then, and is replaced in one go.
 *
 *   writing ── finish(): looked at, durable ──▶ in place
 *      └────── discard() ─────────────────────▶ gone
 *
 * Only what an export may have made before is replaced: a database, or an empty file. Whoever could read it still can.
 */
import { existsSync, realpathSync, type Stats, statSync } from "node:fs"
import { type FileHandle, link, open, rename, unlink } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { LitefsError } from "../../lib/errors.ts"
import {
  DATABASE_HEADER_SIZE,
  DATABASE_MAGIC,
  decodeDatabaseHeader,
  startsLikeDatabase,
} from "../../sqlite/database-header.ts"
import { dataDirAbove } from "../../store/data-dir.ts"
import { errnoText, SysError } from "../../sys/errno.ts"
import { isInMount } from "../../sys/mount.ts"

export interface ExportFileOptions {
  /** An existing database stays, under another name. */
  readonly keeps: boolean
  /** Also replaces a file that is no database. */
  readonly replacesAny: boolean
}

export class ExportFile {
  readonly #given: string
  readonly #path: string
  readonly #partPath: string
  readonly #options: ExportFileOptions
  #file: FileHandle | undefined
  #size = 0

  /** Throws when something is in the way. */
  static async at(path: string, options: ExportFileOptions): Promise<ExportFile> {
    const file = new ExportFile(path, options)
    await file.#checkWay()
    return file
  }

  private constructor(path: string, options: ExportFileOptions) {
    this.#given = path
    this.#path = realPath(path)
    this.#partPath = `${this.#path}.tmp-${process.pid}`
    this.#options = options
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#file ??= await this.#attempt(this.#make())
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.length - done
      const { bytesWritten } = await this.#attempt(this.#file.write(bytes, done, rest))
      done += bytesWritten
    }
    this.#size += bytes.length
  }

  /** Returns the new path of a file that was there; undefined when there was none, or it is replaced. */
  async finish(nowMs: number): Promise<string | undefined> {
    await this.#verify()
    await this.#attempt(this.#file?.sync())
    const old = await this.#checkWay()
    const isKept = this.#options.keeps && old !== undefined
    const kept = isKept ? `${this.#path}.replaced-${nowMs}` : undefined
    if (kept !== undefined) await this.#attempt(link(this.#path, kept))
    await this.#attempt(rename(this.#partPath, this.#path))
    await syncDirectory(dirname(this.#path))
    return kept
  }

  /** Call it after finish(), or instead of it. */
  async discard(): Promise<void> {
    await this.#file?.close()
    if (this.#file !== undefined && existsSync(this.#partPath)) await unlink(this.#partPath)
    this.#file = undefined
  }

  /** With the owner and the mode of the existing file. */
  async #make(): Promise<FileHandle> {
    const old = this.#status()
    const file = await open(this.#partPath, "wx+", old === undefined ? 0o666 : 0o600)
    if (old !== undefined) {
      await file.chown(old.uid, old.gid).catch(() => {}) // only root may; otherwise it is ours like any new file
      await file.chmod(old.mode & 0o777)
    }
    return file
  }

  async #verify(): Promise<void> {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
    await this.#file?.read(bytes, 0, DATABASE_HEADER_SIZE, 0)
    const header = decodeDatabaseHeader(bytes)
    if (header !== undefined && this.#size % header.pageSize === 0) return
    throw this.#refusal("damaged", "what came is not a whole SQLite database")
  }

  /** Returns the status of an existing file. */
  async #checkWay(): Promise<Stats | undefined> {
    const path = this.#path
    if (isInMount(path)) {
      throw this.#refusal("unavailable", "it is in the mount, choose another PATH")
    }
    const dataDir = this.#dataDir()
    if (dataDir !== undefined) {
      const problem = `it is in the data directory "${dataDir}", choose another PATH`
      throw this.#refusal("unavailable", problem)
    }
    const status = this.#status()
    if (status?.isFile() === false) {
      throw this.#refusal("unavailable", "it is not a file, choose another PATH")
    }
    if (status !== undefined && !this.#options.replacesAny) await this.#checkReplaceable(status)
    // SQLite would take them for those of the new file, and play them back.
    const stray = ["-wal", "-journal"].find((suffix) => sizeOf(path + suffix) > 0)
    if (stray === undefined) return status
    const problem = `"${path}${stray}" belongs to another database, remove it`
    throw this.#refusal("unavailable", problem)
  }

  async #checkReplaceable({ size }: Stats): Promise<void> {
    if (size === 0) return
    const file = await this.#attempt(open(this.#path))
    try {
      const bytes = new Uint8Array(DATABASE_MAGIC.length)
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
      if (bytesRead === bytes.length && startsLikeDatabase(bytes)) return
    } finally {
      await file.close()
    }
    const problem = "what is there is not a SQLite database, choose another PATH or give --force"
    throw this.#refusal("unavailable", problem)
  }

  #status(): Stats | undefined {
    return statSync(this.#path, { throwIfNoEntry: false })
  }

  #dataDir(): string | undefined {
    try {
      return dataDirAbove(this.#path)
    } catch (error) {
      if (error instanceof SysError) throw this.#refusal("io", errnoText(error.errno), error)
      throw error
    }
  }

  async #attempt<T>(work: Promise<T> | undefined): Promise<T> {
    try {
      return (await work) as T
    } catch (error) {
      const { code, errno } = error as NodeJS.ErrnoException
      if (code === undefined || errno === undefined) throw error
      const isMissing = code === "ENOENT"
      const problem = isMissing
        ? `there is no directory "${dirname(this.#given)}"`
        : errnoText(Math.abs(errno))
      throw this.#refusal("io", problem, error)
    }
  }

  #refusal(code: "damaged" | "unavailable" | "io", problem: string, cause?: unknown): LitefsError {
    return new LitefsError(code, `Cannot export to "${this.#given}": ${problem}`, { cause })
  }
}

/**
 * The path of the file, or of the file to come, without symbolic links: the target of a link is replaced, not the link.
 */
function realPath(path: string): string {
  for (const end of ["", basename(path)]) {
    try {
      return join(realpathSync(end === "" ? path : dirname(path)), end)
    } catch {
      // There is no such file, or no such directory.
    }
  }
  return path
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
