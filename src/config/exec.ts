/** `exec:` is a command, or a list of `{cmd, if-candidate}`; the last one is the one that stays. */
import type { YamlDocument } from "./yaml-document.ts"

export interface ExecCommand {
  readonly text: string
  readonly isForCandidate: boolean
  /** How it is named in messages. */
  readonly spelling: string
}

export function execCommands(document: YamlDocument, value: unknown): ExecCommand[] {
  if (value === undefined) return []
  if (typeof value === "string") {
    return [{ text: value, isForCandidate: false, spelling: document.spelling("exec") }]
  }
  if (!Array.isArray(value)) throw document.problem("exec", "should be a command, or a list")
  return value.map((entry: unknown, index) => commandOf(document, `exec.${index}`, entry))
}

function commandOf(document: YamlDocument, key: string, entry: unknown): ExecCommand {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw document.problem(key, `is ${JSON.stringify(entry)}, it should have the key cmd`)
  }
  const { cmd, "if-candidate": ifCandidate, ...others } = entry as Record<string, unknown>
  const [stray] = Object.keys(others)
  if (stray !== undefined) {
    throw document.problem(`${key}.${stray}`, "is not a key, there are cmd, if-candidate")
  }
  if (typeof cmd !== "string" || cmd.trim() === "") {
    throw document.problem(key, "has no cmd, it should be the command")
  }
  if (ifCandidate !== undefined && ifCandidate !== null && typeof ifCandidate !== "boolean") {
    const shown = JSON.stringify(ifCandidate)
    throw document.problem(`${key}.if-candidate`, `is ${shown}, it should be true or false`)
  }
  const spelling = document.spelling(`${key}.cmd`)
  return { text: cmd, isForCandidate: ifCandidate === true, spelling }
}
