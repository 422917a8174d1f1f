/**
 * `POST /import?name=DB`: the body, a SQLite database file, takes the place of the database, or becomes a new one.
 *
 *   body ─▶ a file beside the databases ─▶ checked ─▶ one transaction ─▶ the position after it
 *
 * Until the transaction nothing has changed. `verify=false` leaves SQLite's integrity check out.
 */
import type { FileHandle } from "node:fs/promises"
import { open, rm } from "node:fs/promises"
import type { IncomingMessage, ServerResponse } from "node:http"
import { LitefsError } from "../lib/errors.ts"
import { formatPos, type Pos } from "../ltx/pos.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../sqlite/database-header.ts"
import type { DataDir } from "../store/data-dir.ts"
import { databaseNameOf } from "./query.ts"

export interface ImportContext {
  readonly dataDir: DataDir
  /** Throws when this node does not take writes. */
  checkWritable(): void
  /** Throws when the file at `path` is not a whole database. */
  check(name: string, path: string, isThorough: boolean): Promise<void>
  /** Puts DataDir.importPath(file) in the place of the database. */
  replace(name: string, file: number): Promise<Pos>
}

let nextFile = 1

export async function handleImport(
  context: ImportContext,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const name = databaseNameOf(url)
  context.checkWritable()
  const isThorough = url.searchParams.get("verify") !== "false"
  const file = nextFile++
  const path = context.dataDir.importPath(file)
  try {
    await receive(name, request, path)
    await context.check(name, path, isThorough)
    const pos = await context.replace(name, file)
    response.setHeader("Litefs-Position", formatPos(pos))
    response.end()
  } catch (error) {
    // What the client still sends is not wanted.
    if (!request.complete) response.setHeader("Connection", "close")
    throw error
  } finally {
    await rm(path, { force: true })
  }
}

async function receive(name: string, request: IncomingMessage, path: string): Promise<void> {
  const file = await asCondition(name, () => open(path, "wx"))
  try {
    const header = new HeaderCheck(name)
    for await (const part of bodyOf(name, request)) {
      header.take(part)
      await asCondition(name, () => write(file, part))
    }
  } finally {
    await file.close()
  }
}

/** Ends a body early that cannot become a database: it may be endless. */
class HeaderCheck {
  readonly #name: string
  readonly #bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  #size = 0
  #sizeMax = Number.POSITIVE_INFINITY

  constructor(name: string) {
    this.#name = name
  }

  take(part: Uint8Array): void {
    if (this.#size < DATABASE_HEADER_SIZE) {
      this.#bytes.set(part.subarray(0, DATABASE_HEADER_SIZE - this.#size), this.#size)
    }
    const hadHeader = this.#size >= DATABASE_HEADER_SIZE
    this.#size += part.length
    if (!hadHeader && this.#size >= DATABASE_HEADER_SIZE) this.#look()
    if (this.#size > this.#sizeMax) {
      this.#refuse(`it is longer than the ${this.#sizeMax} bytes that its header says`)
    }
  }

  #look(): void {
    const header = decodeDatabaseHeader(this.#bytes)
    if (header === undefined) this.#refuse("it does not start like a SQLite database")
    const pageCount = trustedPageCount(header)
    if (pageCount !== undefined) this.#sizeMax = pageCount * header.pageSize
  }

  #refuse(problem: string): never {
    throw new LitefsError(
      "usage",
      `Cannot import "${this.#name}": the file is not usable, ${problem}`,
    )
  }
}

async function* bodyOf(name: string, request: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    for await (const part of request) yield part as Uint8Array
  } catch (error) {
    const message = `Cannot import "${name}": the connection broke before the file was whole`
    throw new LitefsError("usage", message, { cause: error })
  }
}

async function write(file: FileHandle, part: Uint8Array): Promise<void> {
  for (let done = 0; done < part.length; ) {
    const { bytesWritten } = await file.write(part, done, part.length - done)
    done += bytesWritten
  }
}

/** A full disk is no defect of ours. */
async function asCondition<T>(name: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error
    throw new LitefsError("no-space", `Cannot import "${name}": ${message}`, { cause: error })
  }
}
