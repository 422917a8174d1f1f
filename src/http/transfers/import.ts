/**
 * `POST /import?name=DB`: the body, a SQLite database file, replaces the database, or becomes a new one.
 *
 *   body ─▶ a file beside the databases ─▶ checked, prepared ─▶ one transaction ─▶ the position after it
 *
 * A body may take long, but it keeps a file on the disk: it may stall for STALL_MS_MAX at most.
 *
 * Nothing changes before the transaction. `verify=false` leaves SQLite's integrity check out.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { formatPos, type Pos } from "../../ltx/pos.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../../sqlite/database-header.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { AsyncFile, removeFile } from "../../sys/async-file.ts"
import { isNoSpace } from "../../sys/errno.ts"
import { databaseNameOf } from "../server/query.ts"
import { RequestLog, senderOf } from "../server/request-log.ts"

export interface ImportContext {
  readonly dataDir: DataDir
  readonly clock: Clock
  /** Throws when this node does not take writes. */
  checkWritable(name: string): void
  /** Throws when DataDir.importPath(file) is not an intact database. Prepares it for replace(). */
  prepare(name: string, file: number, isThorough: boolean): Promise<void>
  /** Puts it in the place of the database. Undefined when it has to be prepared again. */
  replace(name: string, file: number): Promise<Pos | undefined>
}

const log = logger("import")
const requests = new RequestLog("import")

export const STALL_MS_MAX = 60_000

let nextFile = 1

export async function handleImport(
  context: ImportContext,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const name = databaseNameOf(url)
  context.checkWritable(name)
  const sender = senderOf(request)
  const isThorough = url.searchParams.get("verify") !== "false"
  const file = nextFile++
  try {
    await receive(context, name, request, file)
    const pos = await put(context, name, file, isThorough)
    requests.say("info", "imported a database", sender, { db: name, pos: formatPos(pos) })
    response.setHeader("Litefs-Position", formatPos(pos))
    response.end()
  } finally {
    await removeFiles(context.dataDir, file)
  }
}

/** An attempt fails only when clients change the journal mode of the database at that moment. */
const ATTEMPT_COUNT_MAX = 5

async function put(
  context: ImportContext,
  name: string,
  file: number,
  isThorough: boolean,
): Promise<Pos> {
  for (let attempt = 0; attempt < ATTEMPT_COUNT_MAX; attempt++) {
    await context.prepare(name, file, isThorough && attempt === 0)
    const pos = await context.replace(name, file)
    if (pos !== undefined) return pos
  }
  const problem = "clients change its journal mode all the time"
  throw new LitefsError("unavailable", `Cannot import "${name}": ${problem}`)
}

/** Removes the remains. The next start removes what cannot be removed now. */
async function removeFiles(dataDir: DataDir, file: number): Promise<void> {
  const paths = [
    dataDir.importPath(file),
    dataDir.importLtxPath(file),
    dataDir.importSumsPath(file),
    dataDir.importOldPath(file),
  ]
  for (const path of paths) {
    try {
      await removeFile("import:unlink", path)
    } catch (error) {
      log.warn("cannot remove a file of an import", { path, error })
    }
  }
}

async function receive(
  { dataDir, clock }: ImportContext,
  name: string,
  request: IncomingMessage,
  number: number,
): Promise<void> {
  const path = dataDir.importPath(number)
  const file = await asCondition(name, () => AsyncFile.create("import", path))
  try {
    const header = new HeaderCheck(name)
    for await (const part of bodyOf(name, request, clock)) {
      header.take(part)
      await asCondition(name, () => file.append(part))
    }
  } finally {
    await file.close()
  }
}

/** Ends early a body that cannot become a database: it may be endless. */
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

async function* bodyOf(
  name: string,
  request: IncomingMessage,
  clock: Clock,
): AsyncGenerator<Uint8Array> {
  const sender = senderOf(request)
  let isLate = false
  const late = () => {
    isLate = true
    const message = "cut off an import, nothing has come of it for long"
    requests.say("warn", message, sender, { db: name })
    request.destroy()
  }
  let cancel = clock.after(STALL_MS_MAX, late)
  try {
    for await (const part of request) {
      cancel()
      yield part as Uint8Array
      cancel = clock.after(STALL_MS_MAX, late)
    }
  } catch (error) {
    const problem = isLate
      ? `nothing of the file has come for ${STALL_MS_MAX / 1000} s`
      : "the connection broke before the file was whole"
    throw new LitefsError("usage", `Cannot import "${name}": ${problem}`, { cause: error })
  } finally {
    cancel()
  }
}

/** A full disk is no defect of ours. */
async function asCondition<T>(name: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (!isNoSpace(error)) throw error
    const message = `Cannot import "${name}": ${messageOf(error)}`
    throw new LitefsError("no-space", message, { cause: error })
  }
}
