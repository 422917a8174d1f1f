/** `litefs mount`: check everything, then open the node and run the command next to it. */
import { resolve } from "node:path"
import { configureLog, logger } from "../../lib/log.ts"
import { childEnvironment } from "../command/child-environment.ts"
import { Orphans } from "../command/orphans.ts"
import { supervise } from "../command/supervisor.ts"
import { commandOptions } from "../settings/mount-commands.ts"
import { MOUNT_SYNTAX } from "../settings/mount-flags.ts"
import { mountOptions } from "../settings/mount-options.ts"
import {
  checkDataDir,
  preflight,
  startProblem,
  workingDirectoryProblem,
} from "../settings/preflight.ts"
import { openSecrets } from "../terminal/access.ts"
import { type Command, command } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import { type CliIo, reportError } from "../terminal/io.ts"
import { reportArrivals } from "./arrivals.ts"
import { mountArgs } from "./mount-args.ts"
import { showSummary } from "./summary.ts"
import { misspelledRole } from "./variables.ts"

const log = logger("mount")

/** `otherFlags` are those of the other commands: their variables are not mistakes. */
export function mountCommand(otherFlags: () => Promise<readonly FlagTable[]>): Command {
  return command({ ...MOUNT_SYNTAX, runWords: (words, io) => mount(words, io, otherFlags) })
}

async function mount(
  rawArgs: readonly string[],
  io: CliIo,
  otherFlags: () => Promise<readonly FlagTable[]>,
): Promise<number> {
  const { args, file, remarks } = mountArgs(rawArgs, io.env)
  const options = mountOptions(args, misspelledRole(io.env))
  const tokenFile = options.authToken === undefined ? undefined : args.values["auth-token-file"]
  const authTokenFile = tokenFile === undefined ? undefined : resolve(tokenFile)
  const commands = commandOptions(args, file?.exec ?? [])

  configureLog(options.log)
  for (const { level, msg, fields } of await remarks(otherFlags)) log[level](msg, fields)
  for (const file of openSecrets(args)) {
    log.warn("every user of this machine can read a secret, chmod o= prevents that", {
      file,
    })
  }
  using orphans = io.isInit ? new Orphans(io.events) : undefined
  let endReports = () => {}
  using _reports = { [Symbol.dispose]: () => endReports() }
  return await supervise({
    ...commands,
    open: async () => {
      await checkDataDir(options.dataDir)
      io.expectNode()
      try {
        await io.recoverStaleMount(options)
        await preflight(options)
        if (commands.command !== undefined || (commands.before?.length ?? 0) > 0) {
          const problem = await workingDirectoryProblem(options, process.cwd())
          if (problem !== undefined)
            log.warn("the command gets a working directory that it should not use", { problem })
        }
        const node = await io.openNode(options)
        showSummary(node, options, io)
        endReports = reportArrivals(node, io)
        return node
      } catch (error) {
        throw startProblem(error, options)
      }
    },
    env: (facts) => childEnvironment(io.env, options, authTokenFile, facts),
    ...(orphans && { children: orphans }),
    events: io.events,
    clock: io.clock,
    report: (error) => reportError(io, error),
  })
}
