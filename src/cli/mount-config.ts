/** A configuration file in the place of flags: where it is looked for, and what it gives. */
import { readFileSync } from "node:fs"
import { homedir, hostname, userInfo } from "node:os"
import { join } from "node:path"
import { type ConfigFile, readConfig } from "../config/config-file.ts"
import { messageOf } from "../lib/errors.ts"
import { type Environment, type FlagTable, type ParsedArgs, usageError } from "./argv.ts"

export const CONFIG_FLAGS = {
  config: {
    kind: "text",
    placeholder: "FILE",
    help: "read the original's litefs.yml; flags and variables win over it",
  },
  "no-expand-env": {
    kind: "boolean",
    help: "do not replace $NAME in that file by variables",
  },
} as const satisfies FlagTable

interface ConfigSource {
  readonly args: ParsedArgs<typeof CONFIG_FLAGS>
  readonly env: Environment
  readonly hasRole: boolean
  readonly flags: FlagTable
}

/** The file of --config, else, for a node without a role, the first one of `searchPath()`. */
export function mountConfig(source: ConfigSource): ConfigFile | undefined {
  const { args, hasRole } = source
  const given = args.values.config
  if (given !== undefined) return read(given, contentOf(given, args.spelling("config")), source)
  if (hasRole) return undefined
  for (const path of searchPath()) {
    const text = contentIfThere(path)
    if (text !== undefined) return read(path, text, source)
  }
  return undefined
}

/** As in the original. */
function searchPath(): string[] {
  return ["litefs.yml", join(homeOfUser(), "litefs.yml"), "/etc/litefs.yml"]
}

function read(path: string, text: string, { args, env, hasRole, flags }: ConfigSource): ConfigFile {
  return readConfig(path, text, {
    env: { ...env, HOSTNAME: env.HOSTNAME || hostname() },
    isExpanded: !args.values["no-expand-env"],
    hasRole,
    flags,
  })
}

function contentIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8")
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT" || code === "ENOTDIR") return undefined
    throw usageError("mount", `"${path}" cannot be read: ${messageOf(error)}`)
  }
}

function contentOf(path: string, spelling: string): string {
  const text = contentIfThere(path)
  if (text !== undefined) return text
  throw usageError("mount", `${spelling} is "${path}": there is no such file`)
}

/** What the system knows about the user; an image without users has only $HOME. */
function homeOfUser(): string {
  try {
    return userInfo().homedir
  } catch {
    return homedir()
  }
}
