/**
 * The kinds of flags: which texts each accepts, what they become, and the message for any other text.
 *
 *   duration   10s, 1h30m        milliseconds
 *   size       512MiB, 2GB       bytes
 *   rate       50MB/s            bytes per second, 64 KiB at least; 0 is no limit
 *   address    :80, [::1]:80     host and port
 *   url        http://a:20202    the origin: scheme, host and port
 *   name       app.db            the name of a database
 *   special    any other         what its own `read` makes of it
 *
 * A flag of any kind may be a list. Its default is a text, too, as a user would give it.
 */
import { parseDuration } from "../../lib/duration.ts"
import { parseSize } from "../../lib/size.ts"
import type { ListenAddress } from "../../litefs-options.ts"
import { databaseNameProblem } from "../../wire/database-name.ts"

export type Flag = Switch | ((Choice | ValueFlag) & ListOrOne)
export type FlagTable = Readonly<Record<string, Flag>>
export type FlagValues<T extends FlagTable> = { readonly [Name in keyof T]: FlagValue<T[Name]> }

interface Described {
  readonly help: string
  /** What a line has no room for: docs/reference.md and the man page say it after `help`. */
  readonly more?: string
  /** Its variable would be that of a flag of `litefs mount`, in the environment of the whole container. */
  readonly hasNoVariable?: true
}

interface Switch extends Described {
  readonly kind: "boolean"
  readonly default?: true
  readonly isList?: never
  readonly separator?: never
}

interface Choice extends Described {
  readonly kind: "choice"
  readonly choices: readonly string[]
}

interface ListOrOne {
  readonly default?: string
  /** The command cannot run without it. */
  readonly isRequired?: true
  /** It may be repeated. */
  readonly isList?: true
  /** For a list: separates parts of one value, each of which is a value, too. */
  readonly separator?: string
}

interface Valued extends Described {
  /** Stands for the value in the help text: `DIR`. */
  readonly placeholder?: string
}

type ValueFlag =
  | (Valued & { readonly kind: "text"; readonly placeholder: string })
  | (Valued & { readonly kind: "duration"; readonly isPositive?: true })
  | (Valued & { readonly kind: "size" | "rate" | "name" })
  | (Valued & {
      readonly kind: "address"
      readonly like: string
      /** Somebody else listens there: on this machine when the host is missing. */
      readonly isOfOther?: true
    })
  | (Valued & { readonly kind: "url"; readonly like: string; readonly isPlain?: true })
  | (Valued & {
      readonly kind: "special"
      readonly placeholder: string
      /** Throws an Unfit, or an error whose message says what is wrong. */
      readonly read: (text: string) => unknown
    })

interface KindValues {
  readonly boolean: boolean
  readonly text: string
  readonly duration: number
  readonly size: number
  readonly rate: number
  readonly address: ListenAddress
  readonly url: string
  readonly name: string
}

type OneValue<F extends Flag> = F extends { read: (text: string) => infer Value }
  ? Value
  : F extends { choices: readonly (infer Choice)[] }
    ? Choice
    : F["kind"] extends keyof KindValues
      ? KindValues[F["kind"]]
      : never

export type FlagValue<F extends Flag> = F extends { isList: true }
  ? readonly OneValue<F>[]
  : F extends { kind: "boolean" } | { default: string } | { isRequired: true }
    ? OneValue<F>
    : OneValue<F> | undefined

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  ...{ duration: "DURATION", size: "SIZE", rate: "RATE" },
  ...{ address: "ADDR", url: "URL", name: "DB" },
}

/** What is wrong with a value, as the continuation of `--flag is "…", `: "it should be …". */
export class Unfit extends Error {}

/** The value of a text for this flag. Throws an Unfit, or what the flag's own `read` throws. */
export function readText(flag: Flag, text: string): unknown {
  switch (flag.kind) {
    case "boolean":
      return booleanOf(text)
    case "choice":
      if (flag.choices.includes(text)) return text
      throw new Unfit(`it should be one of ${flag.choices.join(", ")}`)
    case "text":
      return text
    case "duration":
      return durationOf(text, flag.isPositive === true)
    case "size":
      return limitOf(text)
    case "rate":
      return rateOf(text)
    case "address":
      return addressOf(text, flag.like, flag.isOfOther)
    case "url":
      return originOf(text, flag.like, flag.isPlain === true)
    case "name":
      return databaseNameOf(text)
    case "special":
      return flag.read(text)
  }
}

export function placeholderOf(name: string, flag: Flag): string {
  if ("placeholder" in flag && flag.placeholder !== undefined) return flag.placeholder
  return PLACEHOLDERS[flag.kind] ?? name.split("-").at(-1)?.toUpperCase() ?? ""
}

/** The variable of this flag, as `LITEFS_FUSE_DIR` for --fuse-dir; undefined when there is none. */
export function variableOf(name: string, { hasNoVariable }: Flag): string | undefined {
  return hasNoVariable === true ? undefined : environmentName(name)
}

/** `--fuse-dir` is `LITEFS_FUSE_DIR` in the environment. */
export function environmentName(flagName: string): string {
  return `LITEFS_${flagName.toUpperCase().replaceAll("-", "_")}`
}

function booleanOf(text: string): boolean {
  if (/^(1|true)$/i.test(text)) return true
  if (/^(0|false)$/i.test(text)) return false
  throw new Unfit("it should be true or false")
}

function durationOf(text: string, isPositive: boolean): number {
  try {
    const ms = parseDuration(text)
    if (ms > 0 || (ms === 0 && !isPositive)) return ms
  } catch {
    // Said below.
  }
  const what = isPositive ? "a duration above zero" : "a duration"
  const isNegative = text.startsWith("-") && isDuration(text)
  throw new Unfit(`${isNegative ? "it is negative, " : ""}it should be ${what}, like 10s or 1h30m`)
}

function sizeOf(text: string, shape: string): number {
  const size = parseSize(text)
  if (size !== undefined) return size
  throw new Unfit(`it should be ${shape}`)
}

function isDuration(text: string): boolean {
  try {
    parseDuration(text)
    return true
  } catch {
    return false
  }
}

/**
 * Nobody means less: a unit is missing, or "k" for thousands. A snapshot would take days, and LTX files would be gone
 * before a replica has them.
 */
const SIZE_MIN = 64 * 1024

function limitOf(text: string): number {
  const shape = "a size with a unit, like 512MiB or 2GiB, 64KiB at least"
  const size = sizeOf(text, shape)
  if (size === 0 || size >= SIZE_MIN) return size
  throw new Unfit(`it should be ${shape}`)
}

function rateOf(text: string): number {
  const shape = "bytes per second with a unit, like 50MB/s, 64KiB/s at least, or 0 for no limit"
  const rate = sizeOf(text.replace(/\/s$/, ""), shape)
  if (rate === 0 || rate >= SIZE_MIN) return rate
  throw new Unfit(`it should be ${shape}`)
}

/** `127.0.0.1:20202`, `[::1]:20202`, `localhost:20202`, or `:20202` for every interface. */
export function addressOf(text: string, like: string, isOfOther = false): ListenAddress {
  const match = /^(?:\[(?<ipv6>[0-9a-fA-F:.]+)\]|(?<host>[^\s:/[\]]*)):(?<port>\d{1,5})$/.exec(text)
  const port = Number(match?.groups?.port)
  if (match === null || port > 65_535) {
    throw new Unfit(`it should be HOST:PORT or :PORT, like ${like}`)
  }
  const host = match.groups?.ipv6 ?? match.groups?.host ?? ""
  if (!isOfOther) return { host, port }
  if (port === 0) throw new Unfit("its port should be 1 to 65535")
  return { host: host === "" ? "127.0.0.1" : host, port }
}

function originOf(text: string, like: string, isPlain: boolean): string {
  const fault = (what: string) => new Unfit(`it should ${what}, like ${like}`)
  if (!URL.canParse(text)) throw fault("be a URL")
  const url = new URL(text)
  const start = isPlain ? /^http:\/\//i : /^https?:\/\//i
  if (!start.test(text) || url.hostname === "") {
    throw fault(`start with http://${isPlain ? "" : " or https://"}`)
  }
  if (url.username !== "" || url.password !== "") throw fault("have no user name and password")
  if (url.pathname !== "/" || /[?#]/.test(text)) throw fault("end after the host and the port")
  return url.origin
}

/** Throws a SyntaxError that says only what is wrong. */
export function databaseNameOf(text: string): string {
  const problem = databaseNameProblem(text)
  if (problem === undefined) return text
  throw new SyntaxError(`${problem}, it should be like app.db`)
}
