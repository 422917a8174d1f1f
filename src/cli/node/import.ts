/** `litefs import`: sends a database file to the primary, where it takes the place of a database. */
import { LitefsError, messageOf } from "../../lib/errors.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
} from "../../sqlite/database-header.ts"
import { Stopping } from "../command/stopping.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import { took } from "../terminal/elapsed.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { Progress } from "../terminal/progress.ts"
import { API_FLAGS, NodeApi, nodeSettings } from "./api.ts"
import { DatabaseSource } from "./database-source.ts"

const FLAGS = {
  ...API_FLAGS,
  "no-verify": { kind: "boolean", help: "skip SQLite's integrity check" },
} as const satisfies FlagTable

export const IMPORT = command({
  name: "import",
  flags: FLAGS,
  words: { placeholder: "PATH", countMin: 1, countMax: 1, mayBeDash: true },
  about: `The import command will put a SQLite database file in the place of a database, or
make a new one from it. The whole file is one transaction, which goes to replicas
like any other: clients that have the database open see all of it or nothing.`,
  usage: "litefs import [flags] --name DB PATH",
  notes: `PATH - is the standard input, which has to be a whole database: of one in WAL mode,
what was only in its WAL is missing. Of a file, what is in the WAL beside it
is imported, too, and other programs may use it meanwhile. One with the journal
of an interrupted transaction is refused: sqlite3 FILE .backup makes a whole one.

The node must be the primary. It checks the file before anything is changed,
and waits up to 10 seconds for transactions of its clients to end. The journal
mode of a database that exists stays what it is.`,
  examples: `# a new database, or new content for one
litefs import --name app.db /tmp/app.db

# from a compressed backup, on another host
zcat app.db.gz | litefs import --url http://10.0.0.1:20202 --name app.db -`,
  settings: nodeSettings("import"),
  run: importFile,
})

async function importFile(args: ParsedArgs<typeof FLAGS>, io: CliIo): Promise<number> {
  const { values, words } = args
  const { name } = values
  const api = new NodeApi(args)
  const query = { name, ...(values["no-verify"] ? { verify: "false" } : {}) }
  const startMs = io.clock.monotonicMs()
  const path = words[0] as string
  const source = await openSource(path, io)
  const progress = new Progress(io, source.size)
  const failed: { error?: unknown } = {}
  const stopping = new Stopping(io.events)
  try {
    const body = streamOf(source.parts, (size) => progress.add(size), failed)
    const { signal } = stopping
    await api.call("/import", query, { method: "POST", body, signal, ...STREAMING })
  } catch (error) {
    if (stopping.exitCode !== undefined) return stopping.exitCode
    throw failed.error ?? ofFile(error, name, path) // the cause of the failed request tells more than the failure
  } finally {
    progress.end()
    stopping.end()
    await source.close()
  }
  if (source.mayLackWal()) io.stderr(`WARNING: ${LACKING_WAL}\n`)
  io.stdout(`Import of database "${name}" in ${took(io.clock, startMs)}\n`)
  return 0
}

/** The node knows only the name: its refusal gets that of the file, which may be another one the next time. */
function ofFile(error: unknown, name: string, path: string): unknown {
  const start = `Cannot import "${name}": `
  const isAboutFile = messageOf(error).startsWith(`${start}the file is not usable`)
  if (!(error instanceof LitefsError && isAboutFile)) return error
  const file = path === "-" ? "the standard input" : `"${path}"`
  const message = `Cannot import ${file} as "${name}": ${error.message.slice(start.length)}`
  const code = error.code === "usage" ? "invalid" : error.code
  return new LitefsError(code, message, { cause: error })
}

/** The standard asks for `duplex` with a stream; without `timeout: false` Bun gives up after five minutes. */
const STREAMING = { duplex: "half", timeout: false } as const

const LACKING_WAL =
  "the database is in WAL mode and came without its WAL, which is well for one that litefs export has written: if a program used it when it was copied, the last transactions may be missing; " +
  "sqlite3 FILE '.backup COPY', VACUUM INTO, or PRAGMA wal_checkpoint(TRUNCATE) before the copy make a whole one"

interface Source {
  readonly size: number | undefined
  readonly parts: AsyncIterator<Uint8Array>
  /** After all was read: whether transactions may be missing that were not to be found. */
  mayLackWal(): boolean
  close(): Promise<void>
}

async function openSource(path: string, io: CliIo): Promise<Source> {
  if (path !== "-") {
    const source = await DatabaseSource.open(path, io.clock)
    return {
      ...{ size: source.size, parts: source.parts(), close: () => source.close() },
      mayLackWal: () => source.mayLackWal,
    }
  }
  const head = new Uint8Array(DATABASE_HEADER_SIZE)
  const parts = withHead(io.stdin(), head)
  const isOfWal = () => {
    const header = decodeDatabaseHeader(head)
    return header !== undefined && isWalMode(header)
  }
  return { size: undefined, parts, mayLackWal: isOfWal, close: async () => {} }
}

/** Passes the same parts on, and copies their first bytes into `head`. */
async function* withHead(
  parts: AsyncIterable<Uint8Array>,
  head: Uint8Array,
): AsyncGenerator<Uint8Array, void, void> {
  let size = 0
  for await (const part of parts) {
    if (size < head.length) head.set(part.subarray(0, head.length - size), size)
    size += part.length
    yield part
  }
}

/** A part is requested when there is room for it: nothing piles up. */
function streamOf(
  parts: AsyncIterator<Uint8Array>,
  onPart: (size: number) => void,
  failed: { error?: unknown },
): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const part = await parts.next().catch((error) => {
          failed.error = error
          throw error
        })
        const isEnded = (controller.desiredSize ?? 0) <= 0 // the node has answered, and wants no more
        if (isEnded) return
        if (part.done) return controller.close()
        onPart(part.value.length)
        controller.enqueue(part.value)
      },
    },
    { highWaterMark: 1 },
  )
}
