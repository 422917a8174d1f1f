/** `exec:` is a command, or a list of `{cmd, if-candidate}`, of which the last one stays. */
import { shown, textOf, type YamlDocument } from "./yaml-document.ts"

export interface ExecCommand {
  /** Words, or a text to split into words. */
  readonly text: string | readonly string[]
  readonly isForCandidate: boolean
  /** Its name in messages. */
  readonly spelling: string
}

export function execCommands(document: YamlDocument, value: unknown): ExecCommand[] {
  if (value === undefined) return []
  if (typeof value === "string") {
    return [{ text: value, isForCandidate: false, spelling: document.spelling("exec") }]
  }
  if (Array.isArray(value)) {
    return value.map((entry: unknown, index) => commandOf(document, `exec.${index}`, entry))
  }
  if (typeof value === "object" && value !== null) return [commandOf(document, "exec", value)]
  throw document.problem("exec", "should be a command, or a list")
}

function commandOf(document: YamlDocument, key: string, entry: unknown): ExecCommand {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw document.problem(key, `is ${shown(entry)}, it should have the key cmd`)
  }
  const { cmd, "if-candidate": ifCandidate, ...others } = entry as Record<string, unknown>
  const [stray] = Object.keys(others)
  if (stray !== undefined) {
    throw document.problem(`${key}.${stray}`, "is not a key, there are cmd, if-candidate")
  }
  const text = commandText(document, key, cmd)
  if (ifCandidate !== undefined && ifCandidate !== null && typeof ifCandidate !== "boolean") {
    const text = shown(ifCandidate)
    throw document.problem(`${key}.if-candidate`, `is ${text}, it should be true or false`)
  }
  const spelling = document.spelling(`${key}.cmd`)
  return { text, isForCandidate: ifCandidate === true, spelling }
}

/** A list consists of the words themselves, as in container images. */
function commandText(document: YamlDocument, key: string, cmd: unknown): ExecCommand["text"] {
  if (cmd === undefined || cmd === null || (typeof cmd === "string" && cmd.trim() === "")) {
    throw document.problem(key, "has no cmd, it should be the command")
  }
  if (typeof cmd === "string") return cmd
  const words = Array.isArray(cmd) ? cmd.map(textOf) : []
  const isCommand = words.length > 0 && words[0] !== "" && !words.includes(undefined)
  if (isCommand) return words as string[]
  throw document.problem(`${key}.cmd`, `is ${shown(cmd)}, it should be a text, or a list of words`)
}
