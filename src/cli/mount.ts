/** `litefs mount`: check everything, then open the node and run the command next to it. */
import { resolve } from "node:path"
import { defineCommand } from "citty"
import { configureLog, logger } from "../lib/log.ts"
import { openSecrets } from "./access.ts"
import { parseArgs } from "./argv.ts"
import { childEnvironment } from "./child-environment.ts"
import { type CliIo, reportError } from "./io.ts"
import { commandOptions } from "./mount-commands.ts"
import { mountConfig } from "./mount-config.ts"
import { MOUNT_FLAGS, MOUNT_SYNTAX } from "./mount-flags.ts"
import { mountOptions } from "./mount-options.ts"
import { Orphans } from "./orphans.ts"
import { preflight } from "./preflight.ts"
import { supervise } from "./supervisor.ts"

const log = logger("mount")

export function mountCommand(io: CliIo) {
  return defineCommand({
    meta: { name: "mount" },
    run: ({ rawArgs }) => mount(rawArgs, io),
  })
}

async function mount(rawArgs: readonly string[], io: CliIo): Promise<number> {
  const given = parseArgs(MOUNT_SYNTAX, rawArgs, io.env)
  const hasRole = given.values.primary || given.isGiven("primary-url")
  const config = mountConfig({ args: given, env: io.env, hasRole, flags: MOUNT_FLAGS })
  const args = config ? parseArgs(MOUNT_SYNTAX, rawArgs, io.env, config.settings) : given
  const options = mountOptions(args)
  const tokenFile = options.authToken === undefined ? undefined : args.values["auth-token-file"]
  const authTokenFile = tokenFile === undefined ? undefined : resolve(tokenFile)
  const commands = commandOptions(args, config?.exec ?? [])

  configureLog(options.log)
  if (config !== undefined) log.info("configured", { file: config.path })
  for (const remark of config?.remarks ?? []) log.warn("a setting changes nothing", remark)
  for (const file of openSecrets(args)) {
    log.warn("every user of this machine can read a secret, chmod o= makes an end of that", {
      file,
    })
  }
  using orphans = io.isInit ? new Orphans(io.events) : undefined
  return await supervise({
    ...commands,
    open: async () => {
      await io.recoverStaleMount(options)
      await preflight(options)
      return io.openNode(options)
    },
    env: (facts) => childEnvironment(io.env, options, authTokenFile, facts),
    ...(orphans && { children: orphans }),
    events: io.events,
    clock: io.clock,
    report: (error) => reportError(io, error),
  })
}
