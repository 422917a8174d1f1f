/** `litefs export`: writes a database of a node to a file, as of one position. */
import { LitefsError } from "../../lib/errors.ts"
import { Stopping } from "../command/stopping.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import { took } from "../terminal/elapsed.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { Progress } from "../terminal/progress.ts"
import { API_FLAGS, NodeApi, nodeSettings } from "./api.ts"
import { ExportFile } from "./export-file.ts"

const FLAGS = {
  ...API_FLAGS,
  keep: { kind: "boolean", help: "keep a database that is there, as PATH.replaced-TIME" },
  force: { kind: "boolean", help: "also replace a file that is not a database" },
} as const satisfies FlagTable

export const EXPORT = command({
  name: "export",
  flags: FLAGS,
  words: { placeholder: "PATH", countMin: 1, countMax: 1, mayBeDash: true },
  about: `The export command will write a database to a file: all transactions up to one
position, and nothing of later ones. Nobody waits for it, and it can be done on
any node.`,
  usage: "litefs export [flags] --name DB PATH",
  notes: `PATH - is the standard output. The file appears under its name when it is whole;
until then a database that was there stays, and then it is replaced in one go.
Any other file is left alone, and so are the mount and the data directory.`,
  examples: `# a backup
litefs export --name app.db /backup/app.db

# straight to another host
litefs export --name app.db - | ssh backup 'cat > app.db'`,
  settings: nodeSettings("export"),
  run: exportDatabase,
})

interface Target {
  write(bytes: Uint8Array): Promise<void>
}

async function exportDatabase(args: ParsedArgs<typeof FLAGS>, io: CliIo): Promise<number> {
  const { values, words } = args
  const { name } = values
  const api = new NodeApi(args)
  const path = words[0] as string
  const startMs = io.clock.monotonicMs()
  const success = () => `Export of database "${name}" in ${took(io.clock, startMs)}\n`
  if (path === "-") {
    await receive(api, name, { write: (bytes) => io.writeStdout(bytes) }, io)
    io.stderr(success())
    return 0
  }
  const file = await ExportFile.at(path, { keeps: values.keep, replacesAny: values.force })
  const signalled = await exportFile(api, name, file, io)
  if (signalled !== undefined) return signalled
  io.stdout(success())
  return 0
}

/** Leaves nothing behind when it is told to stop, and then returns the exit code. */
async function exportFile(
  api: NodeApi,
  name: string,
  file: ExportFile,
  io: CliIo,
): Promise<number | undefined> {
  const stopping = new Stopping(io.events)
  try {
    await receive(api, name, file, io, stopping.signal)
    const kept = await file.finish(io.clock.wallMs())
    if (kept !== undefined) {
      io.stderr(`The file that was there is now "${kept}"\n`)
    }
    return undefined
  } catch (error) {
    if (stopping.exitCode === undefined) throw error
    return stopping.exitCode
  } finally {
    await file.discard()
    stopping.end()
  }
}

async function receive(
  api: NodeApi,
  name: string,
  target: Target,
  io: CliIo,
  signal: AbortSignal | null = null,
): Promise<void> {
  const { headers, body } = await api.call("/export", { name }, { signal })
  const length = headers.get("Content-Length")
  const size = length === null ? undefined : Number(length)
  const progress = new Progress(io, size)
  let received = 0
  try {
    for await (const part of partsOf(api, body)) {
      await target.write(part)
      received += part.length
      progress.add(part.length)
    }
  } finally {
    progress.end()
  }
  if (size === undefined || received === size) return
  throw new LitefsError(
    "io",
    `Cannot export from ${api.origin}: ${received} of ${size} bytes came, try again`,
  )
}

async function* partsOf(
  api: NodeApi,
  body: ReadableStream<Uint8Array> | null,
): AsyncGenerator<Uint8Array> {
  if (body === null) return
  try {
    yield* body
  } catch (error) {
    const message = `Cannot export from ${api.origin}: the connection broke, see the node's log`
    throw new LitefsError("io", message, { cause: error })
  }
}
