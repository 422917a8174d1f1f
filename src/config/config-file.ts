/**
 * The original's `litefs.yml`, as settings in place of flags.
 *
 *   text ──variables──▶ YAML ──every key known, every type right──▶ flags, commands, remarks
 *
 * Beyond the type, the reader of the flag checks a value; the spelling that comes with it names the key and the line. A
 * key without a value, such as one whose variable is not set, counts as missing.
 */

import { parseDuration } from "../lib/duration.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { type ExecCommand, execCommands } from "./exec.ts"
import { type Expanded, expandVariables } from "./expand.ts"
import { KEYS, type Key, MOVED } from "./keys.ts"
import { leaseSettings } from "./lease.ts"
import { type Mapping, type Setting, shown, textOf, YamlDocument } from "./yaml-document.ts"

export interface ConfigFile {
  readonly path: string
  /** By the name of the flag; several values are those of a list. */
  readonly settings: ReadonlyMap<string, readonly Setting[]>
  readonly exec: readonly ExecCommand[]
  /** Settings without an effect here, with the reason. */
  readonly remarks: readonly { readonly key: string; readonly reason: string }[]
  /** The variables that the file refers to: they belong to the file, and are no flags. */
  readonly variables: ReadonlySet<string>
  /** Those whose value the file needs, and which are not set. */
  readonly unset: ReadonlySet<string>
  /** The file's role, when another one counts. */
  readonly unusedRole: string | undefined
}

export interface ConfigOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly isExpanded: boolean
  /** Whether the role comes from elsewhere than the file's variables, so that `lease` is not needed. */
  hasRole(variables: ReadonlySet<string>): boolean
  readonly flags: Readonly<Record<string, unknown>>
  /** The command that reads it, for messages; undefined: "mount". */
  readonly command?: string
}

/** Throws a LitefsError "usage" that names the file, the key and the line. */
export function readConfig(path: string, text: string, options: ConfigOptions): ConfigFile {
  const expanded = options.isExpanded
    ? expand(path, text, options)
    : { text, names: new Set<string>(), unset: new Set<string>() }
  return namingUnset(expanded.unset, () => readExpanded(path, expanded, options))
}

/** An error of what `act` reads may be one of a variable that is not set. */
export function namingUnset<T>(unset: ReadonlySet<string>, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (unset.size === 0 || !(error instanceof LitefsError)) throw error
    const names = [...unset].map((name) => `$${name}`).join(", ")
    throw new LitefsError(error.code, `${error.message} (not set: ${names})`, { cause: error })
  }
}

function readExpanded(path: string, expanded: Expanded, options: ConfigOptions): ConfigFile {
  const document = new YamlDocument(path, expanded.text, options.command)
  const hasRole = options.hasRole(expanded.names)
  const values = valuesOf(document)
  const isElected = !hasRole && values.get("lease.type") === "consul"
  const settings = new Map<string, readonly Setting[]>()
  const remarks: { key: string; reason: string }[] = []

  for (const [key, value] of values) {
    const { flag, gone, noEffect, silentFor } = KEYS[key] as Key
    if (gone !== undefined) throw document.problem(key, `cannot be used: ${gone}`)
    const isOfLease = key.startsWith("lease.consul.") && isElected
    if (noEffect !== undefined && value !== silentFor && !isOfLease) {
      remarks.push({ key: document.spelling(key), reason: noEffect })
    }
    if (flag === undefined) continue
    if (!Object.hasOwn(options.flags, flag)) {
      throw document.problem(key, `cannot be used: there is no --${flag} in this version yet`)
    }
    const spelling = document.spelling(key)
    const texts = Array.isArray(value) ? value.map(String) : [String(value)]
    settings.set(
      flag,
      texts.map((each) => ({ text: each, spelling })),
    )
  }
  if (values.get("log.debug") === true) {
    settings.set("log-level", [{ text: "debug", spelling: document.spelling("log.debug") }])
  }
  // The original's default: its users' other nodes rely on it.
  if (!settings.has("http-addr")) {
    settings.set("http-addr", [{ text: ":20202", spelling: document.spelling("http.addr") }])
  }
  if (!hasRole) {
    for (const [flag, setting] of leaseSettings(document, values)) settings.set(flag, [setting])
  }
  return {
    ...{ path, settings, remarks, variables: expanded.names, unset: expanded.unset },
    exec: execCommands(document, values.get("exec")),
    unusedRole: hasRole && values.has("lease.type") ? document.spelling("lease") : undefined,
  }
}

function expand(path: string, text: string, { env, command = "mount" }: ConfigOptions): Expanded {
  try {
    return expandVariables(text, env)
  } catch (error) {
    const advice = command === "mount" ? ", or give --no-expand-env" : ""
    throw new LitefsError(
      "usage",
      `Cannot run litefs ${command}: ${path}: ${messageOf(error)}${advice}`,
    )
  }
}

/** The values in the file that are not null, by their whole key. */
function valuesOf(document: YamlDocument): Map<string, unknown> {
  const values = new Map<string, unknown>()
  if (document.root === null || document.root === undefined) {
    throw document.fault("is empty")
  }
  if (!isMapping(document.root)) {
    throw document.fault("has no keys")
  }
  collect(document, document.root, "", values)
  return values
}

function collect(
  document: YamlDocument,
  mapping: Mapping,
  prefix: string,
  into: Map<string, unknown>,
): void {
  for (const [name, value] of Object.entries(mapping)) {
    const key = prefix + name
    const known = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined
    if (known === undefined) throw document.problem(key, unknownKey(key))
    if (value === null || value === "") {
      // It would mean "true", and two nodes without the variable would both be the primary.
      if (key !== "lease.candidate") continue
      throw document.problem(key, "has no value, it should be true or false")
    }
    if (known.type !== "section") into.set(key, checked(document, key, known, value))
    else if (isMapping(value)) collect(document, value, `${key}.`, into)
    else throw document.problem(key, `is ${shown(value)}, it should have keys below it`)
  }
}

function unknownKey(key: string): string {
  const moved = Object.hasOwn(MOVED, key) ? MOVED[key] : undefined
  if (moved !== undefined) return `is no longer a key, it is ${moved} now`
  const prefix = key.slice(0, key.lastIndexOf(".") + 1)
  const known = Object.keys(KEYS).filter(
    (each) => each.startsWith(prefix) && !each.slice(prefix.length).includes("."),
  )
  const names = known.map((each) => each.slice(prefix.length)).join(", ")
  return `is not a key, ${prefix === "" ? "there are" : `in ${prefix.slice(0, -1)} there are`} ${names}`
}

/** The value, as its type. */
function checked(document: YamlDocument, key: string, { type }: Key, value: unknown): unknown {
  const problem = (should: string) =>
    document.problem(key, `is ${shown(value)}, it should be ${should}`)
  switch (type) {
    case "boolean": {
      const isTrue = booleanOf(value)
      if (isTrue !== undefined) return isTrue
      throw problem("true or false")
    }
    case "text": {
      const text = textOf(value)
      if (text !== undefined) return text
      throw problem("a text, put it in quotes")
    }
    case "integer":
      if (Number.isSafeInteger(value)) return value
      throw problem("a number")
    case "duration":
      if (typeof value === "string" && isDuration(value)) return value
      throw problem('a duration, like "10s" or "1h30m"')
    case "texts": {
      const texts = Array.isArray(value) ? value.map(textOf) : [undefined]
      if (!texts.includes(undefined)) return texts
      throw problem("a list of texts")
    }
    default:
      return value
  }
}

/** Accepts the words of older YAML, too, as the original does. */
function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === "boolean") return value
  if (typeof value !== "string") return undefined
  if (/^(y|yes|on|true)$/i.test(value)) return true
  return /^(n|no|off|false)$/i.test(value) ? false : undefined
}

function isDuration(text: string): boolean {
  try {
    parseDuration(text)
    return true
  } catch {
    return false
  }
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
