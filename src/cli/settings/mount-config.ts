/** A configuration file in place of flags: where it is searched, and what it contributes. */
import { existsSync } from "node:fs"
import { homedir, hostname, userInfo } from "node:os"
import { join } from "node:path"
import { type ConfigFile, readConfig } from "../../config/config-file.ts"
import { expandVariables } from "../../config/expand.ts"
import { readGivenFile } from "../../http/server/given-file.ts"
import { LitefsError } from "../../lib/errors.ts"
import { readProblem } from "../../sys/errno.ts"
import { type Environment, type ParsedArgs, readGiven } from "../terminal/argv.ts"
import { addressOf, type FlagTable } from "../terminal/flags.ts"

export const CONFIG_FLAGS = {
  config: {
    kind: "text",
    placeholder: "FILE",
    help: "read the original's litefs.yml; flags and variables win over it",
  },
  "no-expand-env": { kind: "boolean", help: "do not replace $NAME in that file by variables" },
} as const satisfies FlagTable

export interface ConfigSource {
  readonly args: ParsedArgs<typeof CONFIG_FLAGS>
  readonly env: Environment
  readonly flags: FlagTable
  /** Whether the command line has a role. */
  readonly hasRole: boolean
  /** Variables that would give a role, unless the file refers to them. */
  readonly roleVariables: readonly string[]
}

export interface MountConfig {
  readonly file: ConfigFile | undefined
  /** An existing file that is not read, since the command line or a variable gives the role. */
  readonly unread?: string
}

/** The file of --config, or for a node without a role the first one of `searchPath()`. */
export function mountConfig(source: ConfigSource): MountConfig {
  const { args, hasRole, roleVariables } = source
  const given = args.values.config
  if (given !== undefined) {
    return { file: read(given, contentOf("mount", given, args.spelling("config")), source) }
  }
  if (hasRole) {
    const unread = searchPath().find((path) => existsSync(path))
    return { file: undefined, ...(unread === undefined ? {} : { unread }) }
  }
  for (const path of searchPath()) {
    const text = contentIfThere("mount", path)
    if (text === undefined) continue
    const isExpanded = !args.values["no-expand-env"]
    const isMeant = roleVariables.length === 0 || (isExpanded && refersTo(text, roleVariables))
    return isMeant ? { file: read(path, text, source) } : { file: undefined, unread: path }
  }
  return { file: undefined }
}

/** A file's settings of the node, for a command that runs next to it; the spelling is that of --config. */
export function nodeConfig(
  command: string,
  path: string,
  spelling: string,
  { env, flags }: Pick<ConfigSource, "env" | "flags">,
): ConfigFile["settings"] {
  const text = contentOf(command, path, spelling)
  const options = { env: withHostname(env), isExpanded: true, hasRole: () => true, flags, command }
  const { settings } = readConfig(path, text, options)
  const [fuseDir, httpAddr] = [settings.get("fuse-dir"), settings.get("http-addr")]
  const url = httpAddr?.map((given) => {
    const { host, port } = readGiven(command, given, (each) => addressOf(each, "127.0.0.1:20202"))
    const isEverywhere = ["", "0.0.0.0", "::"].includes(host)
    const name = isEverywhere ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host
    return { ...given, text: `http://${name}:${port}` }
  })
  return new Map(Object.entries({ ...(fuseDir && { "fuse-dir": fuseDir }), ...(url && { url }) }))
}

/** As in the original. */
function searchPath(): string[] {
  const home = homeOfUser()
  const ofUser = home === undefined ? [] : [join(home, "litefs.yml")]
  return ["litefs.yml", ...ofUser, "/etc/litefs.yml"]
}

function read(path: string, text: string, source: ConfigSource): ConfigFile {
  const { args, env, hasRole, roleVariables, flags } = source
  return readConfig(path, text, {
    env: withHostname(env),
    isExpanded: !args.values["no-expand-env"],
    hasRole: (ofFile) => hasRole || roleVariables.some((name) => !ofFile.has(name)),
    flags,
  })
}

function withHostname(env: Environment): Environment {
  return { ...env, HOSTNAME: env.HOSTNAME || hostname() }
}

function refersTo(text: string, variables: readonly string[]): boolean {
  try {
    const { names } = expandVariables(text, {})
    return variables.some((name) => names.has(name))
  } catch {
    return false // nobody has asked for it
  }
}

function contentIfThere(command: string, path: string): string | undefined {
  try {
    return readGivenFile(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT" || code === "ENOTDIR") return undefined
    const problem = `"${path}" cannot be read: ${readProblem(error)}`
    throw new LitefsError("unavailable", `Cannot run litefs ${command}: ${problem}`)
  }
}

function contentOf(command: string, path: string, spelling: string): string {
  const text = contentIfThere(command, path)
  if (text !== undefined) return text
  const problem = `${spelling} is "${path}": there is no such file`
  throw new LitefsError("not-found", `Cannot run litefs ${command}: ${problem}`)
}

/** What the system knows about the user. An image without users has only $HOME, or not even that. */
function homeOfUser(): string | undefined {
  for (const ask of [() => userInfo().homedir, homedir]) {
    try {
      return ask()
    } catch {
      // The system does not know.
    }
  }
  return undefined
}
