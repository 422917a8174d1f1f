/**
 * Flags, from the command line and from the environment.
 *
 * A command declares its flags once, as a table; parsing, the environment and the help text follow
 * from it. Accepted are `--flag value`, `--flag=value` and, as in the original, `-flag value`. A
 * value that starts with a dash must be attached. A boolean takes no word of its own: `--primary` or
 * `--primary=false`. A list may be given again and again; its variable has one value on each line.
 * What follows the first `--` is someone else's and passed on word by word.
 *
 * Settings of a file may stand below both; each says where it comes from. Flags of the original that are another one
 * here, or change nothing, are taken with a remark.
 *
 * Nothing is guessed: an unknown flag, a missing value, a flag given twice and a stray word are
 * errors. citty's own parser lets all four pass, so it never sees a flag.
 */
import { LitefsError } from "../../lib/errors.ts"
import { nearest } from "./nearest.ts"

export type Flag =
  | {
      readonly kind: "boolean"
      readonly default?: true
      /** Its variable is that of a flag of `litefs mount`, in the environment of the whole container. */
      readonly hasNoVariable?: true
      readonly help: string
    }
  | {
      readonly kind: "text"
      /** What stands for the value in the help text: `DIR`. */
      readonly placeholder: string
      readonly default?: string
      readonly hasNoVariable?: true
      readonly help: string
    }
  | { readonly kind: "list"; readonly placeholder: string; readonly help: string }
  | {
      readonly kind: "choice"
      readonly choices: readonly string[]
      readonly default: string
      readonly help: string
    }

export type FlagTable = Readonly<Record<string, Flag>>

export type FlagValues<T extends FlagTable> = { readonly [Name in keyof T]: FlagValue<T[Name]> }

type FlagValue<F extends Flag> = F extends { kind: "boolean" }
  ? boolean
  : F extends { kind: "list" }
    ? readonly string[]
    : F extends { choices: readonly (infer Choice)[] }
      ? Choice
      : F extends { default: string }
        ? string
        : string | undefined

/** A boolean flag of the original: what it is here, or why it changes nothing. */
export type OriginalFlag =
  | { readonly flag: string; readonly text: string }
  | { readonly noEffect: string }

export interface CommandSyntax<T extends FlagTable> {
  readonly name: string
  readonly flags: T
  readonly originals?: Readonly<Record<string, OriginalFlag>>
  /** Whether `-- COMMAND ARGS…` may follow the flags. */
  readonly takesCommand: boolean
  /** The words it takes between its flags, such as paths; without this any such word is an error. */
  readonly words?: {
    readonly placeholder: string
    readonly countMin: number
    readonly countMax?: number
    /** Whether a dash alone is one: the standard input or output. */
    readonly mayBeDash?: boolean
  }
}

export interface ParsedArgs<T extends FlagTable> {
  readonly values: FlagValues<T>
  /** The words that are neither flags nor their values, in order. */
  readonly words: readonly string[]
  /** The words after `--`, exactly as they were given; undefined when there was no `--`. */
  readonly command: readonly string[] | undefined
  /** The flags of the original that were given, and what becomes of them. */
  readonly remarks: readonly { readonly key: string; readonly reason: string }[]
  /** How a flag was given, for messages: `--primary`, or `LITEFS_PRIMARY`. */
  spelling(name: keyof T & string): string
  /** Whether it was given at all, and is not the default. */
  isGiven(name: keyof T & string): boolean
  /** The values of several lists in the order in which they were given. */
  inOrder<Name extends keyof T & string>(...names: Name[]): { name: Name; text: string }[]
}

/** What a file says in the place of flags: by the name of the flag. */
export type Settings = ReadonlyMap<string, readonly Given[]>

export type Environment = Readonly<Record<string, string | undefined>>

export interface Given {
  readonly text: string
  /** How it is named in messages. */
  readonly spelling: string
}

/** Once, but for lists. In the order in which they were given, which `at` tells across flags. */
type AllGiven = Map<string, readonly (Given & { readonly at: number })[]>

export function parseArgs<T extends FlagTable>(
  syntax: CommandSyntax<T>,
  args: readonly string[],
  env: Environment,
  settings: Settings = new Map(),
): ParsedArgs<T> {
  const [words, command] = splitAtDoubleDash(args)
  if (command !== undefined) checkCommand(syntax, command)

  const { flags, others, remarks } = wordFlags(syntax, words)
  checkWords(syntax, others)
  // Flags come last, so they win.
  const given: AllGiven = new Map()
  for (const [name, each] of settings)
    given.set(
      name,
      each.map((one) => ({ ...one, at: 0 })),
    )
  for (const [name, each] of environmentFlags(syntax.flags, env)) given.set(name, each)
  for (const [name, each] of flags) given.set(name, each)
  const values = Object.entries(syntax.flags).map(([name, flag]) => [
    name,
    flagValue(syntax.name, flag, given.get(name) ?? []),
  ])
  return {
    values: Object.fromEntries(values) as FlagValues<T>,
    words: others,
    command,
    remarks,
    spelling: (name) => given.get(name)?.[0]?.spelling ?? `--${name}`,
    isGiven: (name) => given.has(name),
    inOrder: (...names) =>
      names
        .flatMap((name) => (given.get(name) ?? []).map(({ text, at }) => ({ name, text, at })))
        .sort((a, b) => a.at - b.at)
        .map(({ name, text }) => ({ name, text })),
  }
}

/** The words of this program, and those of the command after the first `--`. */
export function splitAtDoubleDash(
  args: readonly string[],
): [words: readonly string[], command: readonly string[] | undefined] {
  const index = args.indexOf("--")
  return index < 0 ? [args, undefined] : [args.slice(0, index), args.slice(index + 1)]
}

/** `--fuse-dir` is `LITEFS_FUSE_DIR` in the environment. */
export function environmentName(flagName: string): string {
  return `LITEFS_${flagName.toUpperCase().replaceAll("-", "_")}`
}

export function usageError(commandName: string, problem: string): LitefsError {
  return new LitefsError("usage", `Cannot run litefs ${commandName}: ${problem}`)
}

function checkCommand(syntax: CommandSyntax<FlagTable>, command: readonly string[]): void {
  if (!syntax.takesCommand) {
    throw usageError(syntax.name, '"--" is given, but it runs no command')
  }
  if (!command[0]) {
    throw usageError(syntax.name, 'no command follows "--", write the command or leave "--" out')
  }
}

function checkWords({ name, words }: CommandSyntax<FlagTable>, given: readonly string[]): void {
  if (words === undefined) return
  const stray = words.countMax === undefined ? undefined : given[words.countMax]
  if (stray !== undefined) throw usageError(name, `"${stray}" is one word too many`)
  if (given.length >= words.countMin) return
  throw usageError(name, `no ${words.placeholder} is given, see litefs ${name} --help`)
}

/** An empty variable counts as not set: that is how compose files and shells say "default". */
function environmentFlags(flags: FlagTable, env: Environment): AllGiven {
  const given: AllGiven = new Map()
  for (const [name, flag] of Object.entries(flags)) {
    if (hasNoVariable(flag)) continue
    const spelling = environmentName(name)
    const value = env[spelling] ?? ""
    const texts = flag.kind === "list" ? value.split("\n").map((line) => line.trim()) : [value]
    const present = texts.filter((text) => text !== "")
    if (present.length > 0)
      given.set(
        name,
        present.map((text) => ({ text, spelling, at: 0 })),
      )
  }
  return given
}

/** Whether it can be given on the command line only. */
export function hasNoVariable(flag: Flag): boolean {
  return "hasNoVariable" in flag && flag.hasNoVariable === true
}

function wordFlags(
  syntax: CommandSyntax<FlagTable>,
  words: readonly string[],
): { flags: AllGiven; others: string[]; remarks: { key: string; reason: string }[] } {
  const { name: commandName, flags } = syntax
  const given: AllGiven = new Map()
  const translated: AllGiven = new Map()
  const others: string[] = []
  const remarks: { key: string; reason: string }[] = []
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ""
    if (isWord(syntax, word)) {
      others.push(word)
      continue
    }
    const { name, attached } = splitWord(syntax, word)
    const spelling = `--${name}`
    const original = Object.hasOwn(flags, name) ? undefined : syntax.originals?.[name]
    if (original !== undefined) {
      if (!booleanValue(commandName, attached ?? "true", spelling)) continue
      remarks.push({ key: word, reason: becomeOf(original) })
      if ("flag" in original)
        translated.set(original.flag, [{ text: original.text, spelling: word, at: index }])
      continue
    }
    const before = given.get(name) ?? []
    if (before.length > 0 && flags[name]?.kind !== "list") {
      throw usageError(commandName, `${spelling} is given twice, give it once`)
    }
    let text = attached
    if (text === undefined && flags[name]?.kind === "boolean") text = "true"
    if (text === undefined) {
      text = words[++index]
      // Or a forgotten value would eat the next flag.
      if (text === undefined || text.startsWith("-")) {
        throw usageError(commandName, `${spelling} has no value, write ${spelling}=VALUE`)
      }
    }
    given.set(name, [...before, { text, spelling, at: index }])
  }
  return { flags: new Map([...translated, ...given]), others, remarks }
}

function becomeOf(original: OriginalFlag): string {
  if ("noEffect" in original) return original.noEffect
  const { flag, text } = original
  return `it is --${flag}${text === "true" ? "" : ` ${text}`} here`
}

function isWord({ words }: CommandSyntax<FlagTable>, word: string): boolean {
  if (words === undefined || word === "") return false
  return !word.startsWith("-") || (word === "-" && words.mayBeDash === true)
}

/** `--http-addr=:80` into the flag's name and what is attached to it. */
function splitWord(
  syntax: CommandSyntax<FlagTable>,
  word: string,
): { name: string; attached: string | undefined } {
  const match = /^--?(?<name>[^-=][^=]*)(?:=(?<attached>.*))?$/s.exec(word)
  if (match === null) {
    const advice = syntax.takesCommand ? ', write a command to run after "--"' : ""
    throw usageError(syntax.name, `"${word}" is not a flag${advice}`)
  }
  const { name = "", attached } = match.groups ?? {}
  if (Object.hasOwn(syntax.flags, name) || Object.hasOwn(syntax.originals ?? {}, name)) {
    return { name, attached }
  }

  const guess = nearest(name, Object.keys(syntax.flags))
  const advice = guess ? `did you mean --${guess}?` : `see litefs ${syntax.name} --help`
  throw usageError(syntax.name, `there is no flag --${name}, ${advice}`)
}

function flagValue(
  commandName: string,
  flag: Flag,
  given: readonly Given[],
): string | boolean | readonly string[] | undefined {
  if (flag.kind === "list") {
    return given.map((each) => textValue(commandName, each, flag.placeholder))
  }
  const [first] = given
  if (first === undefined) return flag.kind === "boolean" ? flag.default === true : flag.default

  const { text, spelling } = first
  switch (flag.kind) {
    case "boolean":
      return booleanValue(commandName, text, spelling)
    case "choice":
      if (flag.choices.includes(text)) return text
      throw usageError(
        commandName,
        `${spelling} is "${text}", it should be one of ${flag.choices.join(", ")}`,
      )
    case "text":
      return textValue(commandName, first, flag.placeholder)
  }
}

function textValue(commandName: string, { text, spelling }: Given, placeholder: string): string {
  if (text !== "") return text
  throw usageError(commandName, `${spelling} is empty, it should be ${placeholder}`)
}

function booleanValue(commandName: string, text: string, spelling: string): boolean {
  switch (text.toLowerCase()) {
    case "1":
    case "true":
      return true
    case "0":
    case "false":
      return false
    default:
      throw usageError(commandName, `${spelling} is "${text}", it should be true or false`)
  }
}
