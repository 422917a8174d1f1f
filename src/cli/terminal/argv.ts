/**
 * Flags, from the command line and from the environment.
 *
 * A command declares its flags once, as a table (`flags.ts`), and values, variables, messages and the help text follow
 * from it. Accepted are `--flag value`, `--flag=value` and, as in the original, `-flag value`. A value that starts with
 * a dash must be attached, unless it is a number. A boolean takes no separate word: `--primary` or `--primary=false`. A list may be repeated;
 * its variable has one value on each line. Everything after the first `--` is someone else's and passed on word by
 * word.
 *
 * Settings of a file may stand below both; each says where it comes from. Flags of the original that have another name
 * here, or change nothing, are accepted with a remark.
 *
 * Nothing is guessed: an unknown flag, a missing value, a repeated flag and a stray word are errors.
 */
import { LitefsError, messageOf, shellWord } from "../../lib/errors.ts"
import {
  type Flag,
  type FlagTable,
  type FlagValue,
  type FlagValues,
  placeholderOf,
  readText,
  Unfit,
  variableOf,
} from "./flags.ts"
import { longer, nearest } from "./nearest.ts"

/** A boolean flag of the original: its name here, or why it changes nothing. */
export type OriginalFlag =
  | { readonly flag: string; readonly text: string }
  | { readonly noEffect: string }

export interface CommandSyntax<T extends FlagTable> {
  readonly name: string
  readonly flags: T
  readonly originals?: Readonly<Record<string, OriginalFlag>>
  /** Whether `-- COMMAND ARGS…` may follow the flags. */
  readonly takesCommand?: boolean
  /** The words that it takes between its flags, such as paths; undefined: any such word is an error. */
  readonly words?: {
    readonly placeholder: string
    readonly countMin: number
    readonly countMax?: number
    /** Whether a dash alone is a word: the standard input or output. */
    readonly mayBeDash?: boolean
  }
}

export interface ParsedArgs<T extends FlagTable> {
  readonly values: FlagValues<T>
  /** The words that are neither flags nor their values, in order. */
  readonly words: readonly string[]
  /** The words after `--`, unchanged; undefined when there was no `--`. */
  readonly command: readonly string[] | undefined
  /** The given flags of the original, and what becomes of them. */
  readonly remarks: readonly { readonly key: string; readonly reason: string }[]
  /** The user's spelling of a flag, for messages: `--primary`, or `LITEFS_PRIMARY`. */
  spelling(name: keyof T & string): string
  /** Whether it was given, and is not the default. */
  isGiven(name: keyof T & string): boolean
  /** The given texts, or the default. */
  texts(name: keyof T & string): readonly string[]
  /** The values of several lists in the order in which they were given. */
  inOrder<Name extends keyof T & string>(...names: Name[]): ListedValue<T, Name>[]
  /** An error about flags that are right by themselves: `Cannot run litefs mount: <problem>`. */
  usageError(problem: string): LitefsError
}

export interface ListedValue<T extends FlagTable, Name extends keyof T> {
  readonly name: Name
  readonly value: FlagValue<T[Name]> extends readonly (infer Value)[] ? Value : never
}

/** A file's settings in place of flags, by the name of the flag. */
export type Settings = ReadonlyMap<string, readonly Given[]>

export type Environment = Readonly<Record<string, string | undefined>>

export interface Given {
  readonly text: string
  /** Its name in messages. */
  readonly spelling: string
}

/** Once, except for lists. In the given order, which `at` tells across flags of a command line. */
type AllGiven = ReadonlyMap<string, readonly (Given & { readonly at?: number })[]>

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
  // Flags come last: they win.
  const given: AllGiven = new Map([...settings, ...environmentFlags(syntax.flags, env), ...flags])
  const listOf = (name: string) =>
    (given.get(name) ?? []).flatMap((each) => {
      const flag = syntax.flags[name] as Flag
      const { at = 0 } = each
      return readAll(syntax.name, name, flag, each).map((value) => ({ name, value, at }))
    })
  const values = Object.entries(syntax.flags).map(([name, flag]) => {
    const read = listOf(name).map(({ value }) => value)
    if (flag.isList) return [name, read]
    return [name, given.has(name) ? read[0] : valueOfDefault(syntax.name, name, flag)]
  })
  return {
    values: Object.fromEntries(values) as FlagValues<T>,
    words: others,
    command,
    remarks,
    spelling: (name) => given.get(name)?.[0]?.spelling ?? `--${name}`,
    isGiven: (name) => given.has(name),
    texts: (name) =>
      given.get(name)?.map(({ text }) => text) ??
      [syntax.flags[name]?.default ?? []].flat().map(String),
    inOrder: <Name extends keyof T & string>(...names: Name[]) =>
      names
        .flatMap(listOf)
        .sort((a, b) => a.at - b.at)
        .map(({ name, value }) => ({ name, value }) as ListedValue<T, Name>),
    usageError: (problem) => usageError(syntax.name, problem),
  }
}

/** The words of this program, and those of the command after the first `--`. */
export function splitAtDoubleDash(
  args: readonly string[],
): [words: readonly string[], command: readonly string[] | undefined] {
  const index = args.indexOf("--")
  return index < 0 ? [args, undefined] : [args.slice(0, index), args.slice(index + 1)]
}

export function usageError(commandName: string, problem: string): LitefsError {
  return new LitefsError("usage", `Cannot run litefs ${commandName}: ${problem}`)
}

function checkCommand(syntax: CommandSyntax<FlagTable>, command: readonly string[]): void {
  if (syntax.takesCommand !== true) {
    throw usageError(syntax.name, '"--" is given, but it runs no command')
  }
  if (!command[0]) {
    throw usageError(syntax.name, 'no command follows "--", write the command or leave "--" out')
  }
}

function checkWords({ name, words }: CommandSyntax<FlagTable>, given: readonly string[]): void {
  if (words === undefined) return
  const stray = words.countMax === undefined ? undefined : given[words.countMax]
  if (stray !== undefined)
    throw usageError(name, `"${stray}" is one word too many, see litefs ${name} --help`)
  if (given.length >= words.countMin) return
  throw usageError(name, `no ${words.placeholder} is given, see litefs ${name} --help`)
}

/** An empty variable counts as not set: that is how compose files and shells say "default". */
function environmentFlags(flags: FlagTable, env: Environment): AllGiven {
  const given = new Map<string, Given[]>()
  for (const [name, flag] of Object.entries(flags)) {
    const spelling = variableOf(name, flag)
    if (spelling === undefined) continue
    const value = env[spelling] ?? ""
    const texts = flag.isList ? value.split("\n").map((line) => line.trim()) : [value]
    const present = texts.filter((text) => text !== "").map((text) => ({ text, spelling }))
    if (present.length > 0) given.set(name, present)
  }
  return given
}

function wordFlags(
  syntax: CommandSyntax<FlagTable>,
  words: readonly string[],
): { flags: AllGiven; others: string[]; remarks: { key: string; reason: string }[] } {
  const { name: commandName, flags } = syntax
  const given = new Map<string, (Given & { at: number })[]>()
  const translated: typeof given = new Map()
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
      if (!readGiven(commandName, { text: attached ?? "true", spelling }, isMeant)) continue
      remarks.push({ key: word, reason: becomeOf(original) })
      if ("flag" in original)
        translated.set(original.flag, [{ text: original.text, spelling: word, at: index }])
      continue
    }
    const before = given.get(name) ?? []
    if (before.length > 0 && !flags[name]?.isList) {
      throw usageError(commandName, `${spelling} is given twice, give it once`)
    }
    let text = attached
    if (text === undefined && flags[name]?.kind === "boolean") text = "true"
    if (text === undefined) {
      text = words[++index]
      // Otherwise a forgotten value would eat the next flag. No flag begins with a digit.
      if (text === undefined || /^-(?!\.?\d)/.test(text)) {
        const name = /^--?([^=]+)/.exec(text ?? "")?.[1] ?? ""
        const isFlag = text === undefined || Object.hasOwn(flags, name)
        const shape = isFlag ? "VALUE" : `${text} if that is meant`
        throw usageError(commandName, `${spelling} has no value, write ${spelling}=${shape}`)
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

/** Splits `--http-addr=:80` into the flag's name and the attached value. */
function splitWord(
  syntax: CommandSyntax<FlagTable>,
  word: string,
): { name: string; attached: string | undefined } {
  const match = /^--?(?<name>[^-=][^=]*)(?:=(?<attached>.*))?$/s.exec(word)
  if (match === null) {
    const isFile = /\.ya?ml$/.test(word) && Object.hasOwn(syntax.flags, "config")
    const command = syntax.takesCommand === true ? ', write a command to run after "--"' : ""
    const advice = isFile ? `, a configuration is given as --config ${shellWord(word)}` : command
    throw usageError(syntax.name, `"${word}" is not a flag${advice}`)
  }
  const { name = "", attached } = match.groups ?? {}
  if (Object.hasOwn(syntax.flags, name) || Object.hasOwn(syntax.originals ?? {}, name)) {
    return { name, attached }
  }

  const names = Object.keys(syntax.flags)
  const guess = nearest(name, names) ?? longer(name, names)
  const advice = guess ? `did you mean --${guess}?` : `see litefs ${syntax.name} --help`
  throw usageError(syntax.name, `there is no flag --${name}, ${advice}`)
}

/** The value, or values, of one occurrence. */
function readAll(commandName: string, name: string, flag: Flag, given: Given): unknown[] {
  const texts = flag.separator === undefined ? [given.text] : given.text.split(flag.separator)
  return texts.map((text) => {
    if (text === "" && flag.kind !== "boolean" && flag.kind !== "choice") {
      const shape = placeholderOf(name, flag)
      throw usageError(commandName, `${given.spelling} is empty, it should be ${shape}`)
    }
    return readGiven(commandName, { ...given, text }, (each) => readText(flag, each))
  })
}

function valueOfDefault(commandName: string, name: string, flag: Flag): unknown {
  if (flag.kind === "boolean") return flag.default === true
  if (flag.default !== undefined) return readText(flag, flag.default)
  if (flag.isRequired !== true) return undefined
  throw usageError(commandName, `no --${name} ${placeholderOf(name, flag)} is given`)
}

/** Says which value `read` refuses, and what it should be: by an Unfit, or by the message of any other error. */
export function readGiven<Value>(
  commandName: string,
  { text, spelling }: Given,
  read: (text: string) => Value,
): Value {
  try {
    return read(text)
  } catch (error) {
    const isExpected = error instanceof SyntaxError || error instanceof LitefsError
    if (!isExpected && !(error instanceof Unfit)) throw error
    const problem = `${isExpected ? ": " : ", "}${messageOf(error)}`
    const line = withoutPassword(text).replaceAll("\n", "\\n")
    throw usageError(commandName, `${spelling} is "${line}"${problem}`)
  }
}

/** User and password of a URL are nobody's business, also when they have the signs of a URL and are not encoded. */
export function withoutPassword(text: string): string {
  return text.replace(/:\/\/\S*@/, "://***@")
}

function isMeant(text: string): boolean {
  return readText({ kind: "boolean", help: "" }, text) === true
}
