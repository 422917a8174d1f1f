/**
 * What the command line, the environment and a `litefs.yml` say together, and what the user should know of it.
 *
 *   command line ─▶ variables that are flags ─▶ litefs.yml          the first one that says it wins
 *
 * The original has no variables that are flags, so its users name their files' variables as they like. A variable that
 * the file refers to is the file's, even if it has the name of one of ours. Where one of our variables wins over the
 * file, a remark says so, and one line names the keys over which the command line wins.
 */
import { type ConfigFile, namingUnset } from "../../config/config-file.ts"
import { CONFIG_FLAGS, type MountConfig, mountConfig } from "../settings/mount-config.ts"
import { MOUNT_FLAGS, MOUNT_SYNTAX, type MountFlags } from "../settings/mount-flags.ts"
import { type Environment, type ParsedArgs, parseArgs } from "../terminal/argv.ts"
import { environmentName, type FlagTable } from "../terminal/flags.ts"
import { cloudRemarks, type Remark, roleVariables, unknownVariables } from "./variables.ts"

export interface MountArgs {
  readonly args: ParsedArgs<MountFlags>
  readonly file: ConfigFile | undefined
  /** What the user should know. Loads the flags of other commands only for a variable that is none of these. */
  remarks(otherFlags: () => Promise<readonly FlagTable[]>): Promise<readonly Remarked[]>
}

/** A line of the log. */
export interface Remarked {
  readonly level: "info" | "warn"
  readonly msg: string
  readonly fields: Readonly<Record<string, string>>
}

export const UNKNOWN_VARIABLES = "variables that LiteFS does not know"

export function mountArgs(rawArgs: readonly string[], env: Environment): MountArgs {
  const bare = parseArgs(MOUNT_SYNTAX, rawArgs, only(env, Object.keys(CONFIG_FLAGS)))
  const hasRole =
    bare.values.primary || bare.isGiven("primary-url") || bare.values.lease !== undefined
  const roles = hasRole ? [] : roleVariables(env)
  const source = { args: bare, env, hasRole, roleVariables: roles, flags: MOUNT_FLAGS }
  const config = mountConfig(source)
  const { file } = config
  const ofFile = file?.variables ?? new Set<string>()
  const args = namingUnset(file?.unset ?? new Set(), () =>
    parseArgs(MOUNT_SYNTAX, rawArgs, without(env, ofFile), file?.settings),
  )
  const remarks = async (otherFlags: () => Promise<readonly FlagTable[]>) => {
    const all: Remarked[] = []
    const say = (level: Remarked["level"], msg: string, fields: Remarked["fields"]) =>
      all.push({ level, msg, fields })
    if (file !== undefined) {
      const variables = flagsOfVariables(args).map(environmentName).join(" ")
      say("info", "configured", { file: file.path, ...(variables === "" ? {} : { variables }) })
    }
    for (const remark of args.remarks) say("warn", "a flag of the original", remark)
    for (const remark of [...(file?.remarks ?? []), ...cloudRemarks(env, ofFile)]) {
      say("warn", "a setting changes nothing", remark)
    }
    if (file !== undefined && file.unset.size > 0) {
      const variables = [...file.unset].join(", ")
      say("warn", "variables that the file refers to are not set", { file: file.path, variables })
    }
    for (const remark of overridden(config, args, roles)) {
      say("warn", "a variable wins over the file", remark)
    }
    const keys = overriddenByFlags(config, args, hasRole)
    if (keys.length > 0)
      say("info", "the command line wins over the file", { keys: keys.join(", ") })
    if (config.unread !== undefined && hasRole) {
      const problem = "the command line gives the role, give --config to have it read"
      say("info", "a configuration file is not read", { file: config.unread, problem })
    }
    for (const path of args.values["proxy-db"].filter((each) => each.includes("/"))) {
      say("info", "a path where the name is enough", { key: args.spelling("proxy-db"), path })
    }
    const unknown = await unknownVariables(env, ofFile, otherFlags)
    if (unknown.length > 0) {
      say("warn", UNKNOWN_VARIABLES, { variables: unknown.join(", ") })
    }
    return all
  }
  return { args, file, remarks }
}

type Flag = keyof MountFlags

/** The flags that variables have set. */
function flagsOfVariables(args: ParsedArgs<MountFlags>): Flag[] {
  const flags = Object.keys(MOUNT_FLAGS) as Flag[]
  return flags.filter((flag) => args.isGiven(flag) && args.spelling(flag) === environmentName(flag))
}

/** Settings of a file that do not count. */
function overridden(
  { file, unread }: MountConfig,
  args: ParsedArgs<MountFlags>,
  roles: readonly string[],
): Remark[] {
  const variable = roles.join(" and ")
  if (unread !== undefined && roles.length > 0) {
    const reason = `${variable} gives the role, so the file is not read, give --config to have it read`
    return [{ key: unread, reason }]
  }
  if (file === undefined) return []
  const role = { key: file.unusedRole ?? "", reason: `${variable} gives the role` }
  const others = flagsOfVariables(args).flatMap((flag) => {
    const [setting] = file.settings.get(flag) ?? []
    const value = args.values[flag]
    const text = typeof value === "boolean" ? String(value) : args.texts(flag).join()
    if (setting === undefined || setting.text === text) return []
    return [{ key: setting.spelling, reason: `${environmentName(flag)} overrides it` }]
  })
  return file.unusedRole === undefined || roles.length === 0 ? others : [role, ...others]
}

/** The keys of the file that do not count because of the command line. */
function overriddenByFlags(
  { file }: MountConfig,
  args: ParsedArgs<MountFlags>,
  hasRole: boolean,
): string[] {
  const keys = [...(file?.settings ?? [])].flatMap(([name, [setting]]) => {
    const winner = args.spelling(name as Flag)
    const isOther = winner !== setting?.spelling && winner !== environmentName(name)
    return isOther && setting !== undefined ? [setting.spelling] : []
  })
  const hasCommands = args.command !== undefined || args.isGiven("exec")
  return [
    ...(hasRole && file?.unusedRole !== undefined ? [file.unusedRole] : []),
    ...keys,
    ...(hasCommands && file !== undefined && file.exec.length > 0 ? ["exec"] : []),
  ]
}

function only(env: Environment, flags: readonly string[]): Environment {
  return Object.fromEntries(flags.map(environmentName).map((name) => [name, env[name]]))
}

function without(env: Environment, names: ReadonlySet<string>): Environment {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(name)))
}
