/**
 * `litefs run`: runs a command on the right node, at the right time.
 *
 *   --wait ──▶ --if-primary, --if-candidate ──▶ --promote, --with-halt-lock-on ──▶ the command
 *                  │ not here: 0
 *
 * Until the command has started, a signal ends us; from then on it is the command's.
 */
import { LitefsError } from "../../lib/errors.ts"
import { type Child, type ChildExit, signalExitCode, startChild } from "../command/child.ts"
import { endsWithoutChild } from "../command/process-events.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import { type CliIo, reportError } from "../terminal/io.ts"
import { NODE_FLAGS, NodeApi, nodeSettings } from "./api.ts"
import { databasePath, fuseDirOf } from "./database-path.ts"
import { type HaltLock, takeHaltLock } from "./halt-lock.ts"
import { infoText, roleIn } from "./node-info.ts"
import { healthCondition, notInTime, TIMEOUT_FLAG, until } from "./waiting.ts"

const FLAGS = {
  "if-primary": { kind: "boolean", help: "do nothing on a node that is not the primary" },
  "if-candidate": {
    kind: "boolean",
    help: "do nothing on a node that is not, and may not become, the primary",
  },
  promote: { kind: "boolean", hasNoVariable: true, help: "make the node the primary first" },
  "with-halt-lock-on": {
    kind: "text",
    placeholder: "DB",
    help: "write to this database, also on a replica",
  },
  "fuse-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/litefs",
    help: "where the database of --with-halt-lock-on is",
  },
  wait: { kind: "boolean", help: "wait until the node is ready" },
  timeout: TIMEOUT_FLAG,
  ...NODE_FLAGS,
} as const satisfies FlagTable

type RunArgs = ParsedArgs<typeof FLAGS>

export const RUN = command({
  name: "run",
  flags: FLAGS,
  takesCommand: true,
  originals: { v: { noEffect: "messages are always printed" } },
  about: `The run command will run a command next to a node: where writes are taken, or
after the node is ready. Nothing else is done to the command: its arguments,
its streams and the signals it gets are as they were given.`,
  usage: "litefs run [flags] -- COMMAND ARGS...",
  notes: `The exit code is the command's, and 128+n when a signal ended it, or ended the
waiting before it. It is 0 when --if-primary or --if-candidate has kept the
command from running, which is said on stderr; 1 when the node cannot be asked,
is not ready in time, or is not promoted, or the lock cannot be borrowed; 2
when the command line is wrong.

With --with-halt-lock-on the write lock is borrowed from the primary: until the
command has ended, nobody else writes to the database, and every transaction is
on the primary when its commit returns. Readers are not disturbed.`,
  examples: `# migrate on the primary only, wherever the script runs
litefs run --wait --if-primary -- npm run migrate

# start a program when the replica has caught up
exec litefs run --wait --timeout 5m -- node server.js

# on deploy: become the primary, then migrate
litefs run --wait --if-candidate --promote -- npm run migrate

# or write from here, while the primary stays where it is
litefs run --wait --with-halt-lock-on app.db -- npm run migrate`,
  settings: nodeSettings("run"),
  run,
})

async function run(args: RunArgs, io: CliIo): Promise<number> {
  const { command: words } = args
  if (words === undefined) throw args.usageError('no command is given, write it after "--"')
  if (args.values.promote && args.values["if-primary"]) {
    throw args.usageError("both --promote and --if-primary are given, give one of them")
  }
  const halted = args.values["with-halt-lock-on"]
  if (args.values.promote && halted !== undefined) {
    throw args.usageError("both --promote and --with-halt-lock-on are given, give one of them")
  }
  for (const { key, reason } of args.remarks) io.stderr(`${key} changes nothing: ${reason}\n`)
  const endMs = io.clock.monotonicMs() + args.values.timeout
  const api = new NodeApi(args)

  let child: Child | undefined
  let lock: HaltLock | undefined
  const stopped = Promise.withResolvers<number>()
  const removeListener = io.events.onSignal(({ name, fromKeyboard }) => {
    if (child === undefined) {
      if (endsWithoutChild(name)) stopped.resolve(signalExitCode(name))
    } else if (!fromKeyboard) child.kill(name)
  })
  try {
    const code = await Promise.race([prepare(args, api, io, endMs), stopped.promise])
    if (code !== undefined) return code
    if (halted !== undefined) {
      const taken = await Promise.race([
        takeHaltLock(
          halted,
          databasePath(halted, fuseDirOf(args)),
          io.clock,
          Math.max(0, endMs - io.clock.monotonicMs()),
        ),
        stopped.promise,
      ])
      if (typeof taken === "number") return taken
      lock = taken
    }
    const inherited = lock?.fd
    const exit = await new Promise<ChildExit>((onExit) => {
      child = startChild(words, onExit, { inherited })
    })
    if (exit.error !== undefined) reportError(io, exit.error)
    return exit.code
  } finally {
    lock?.release()
    removeListener()
  }
}

/** Returns an exit code when the command must not run. */
async function prepare(
  args: RunArgs,
  api: NodeApi,
  io: CliIo,
  endMs: number,
): Promise<number | undefined> {
  const { values } = args
  const waitFor = async (query: Record<string, string>) => {
    const problem = await until(healthCondition(api, query, io.clock), io.clock, endMs)
    if (problem === undefined) return
    throw notInTime(args.texts("timeout").join(), problem)
  }
  if (values.wait) await waitFor({})
  if (values["if-primary"] || values["if-candidate"]) {
    const { isPrimary, candidate } = roleIn(await infoText(api, io.clock), api.origin)
    const missing = values["if-primary"] && !isPrimary ? "the primary" : undefined
    const reason = missing ?? (values["if-candidate"] && !candidate ? "a candidate" : undefined)
    if (reason !== undefined) {
      io.stderr(`node is not ${reason}, skipping execution\n`)
      return 0
    }
  }
  if (values.promote) {
    await promote(api)
    await waitFor({ role: "primary" })
  }
  return undefined
}

async function promote(api: NodeApi): Promise<void> {
  const response = await api.request("/promote", {}, { method: "POST" })
  const text = (await api.textOf(response)).trim()
  await api.checkOrigin(response)
  if (response.status === 200) return
  if (response.status !== 404) {
    throw new LitefsError("unavailable", text || `Cannot promote: status ${response.status}`)
  }
  throw new LitefsError(
    "unsupported",
    `Cannot promote ${api.origin}: the LiteFS there has no handoff of the primary, run the command on the primary`,
  )
}
