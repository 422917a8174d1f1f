/** `litefs mount`: check everything, then open the node and run the command next to it. */
import { defineCommand } from "citty"
import { configureLog } from "../lib/log.ts"
import { parseArgs } from "./argv.ts"
import { type CliIo, reportError } from "./io.ts"
import { MOUNT_SYNTAX } from "./mount-flags.ts"
import { mountOptions } from "./mount-options.ts"
import { preflight } from "./preflight.ts"
import { supervise } from "./supervisor.ts"

export function mountCommand(io: CliIo) {
  return defineCommand({
    meta: { name: "mount" },
    run: ({ rawArgs }) => mount(rawArgs, io),
  })
}

async function mount(rawArgs: readonly string[], io: CliIo): Promise<number> {
  const args = parseArgs(MOUNT_SYNTAX, rawArgs, io.env)
  const options = mountOptions(args)

  configureLog(options.log)
  await io.recoverStaleMount(options)
  await preflight(options)
  return supervise({
    open: () => io.openNode(options),
    command: args.command,
    events: io.events,
    clock: io.clock,
    report: (error) => reportError(io, error),
  })
}
