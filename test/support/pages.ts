/** The pages of docs/ as text to run: sections, and the blocks of code in them. */
import { readFileSync } from "node:fs"
import { join } from "node:path"

const ROOT = join(import.meta.dirname, "../..")

export interface Block {
  readonly language: string
  readonly text: string
  /** What its first line says: `# on 10.0.0.1`, `# on every machine`; undefined: as the block before. */
  readonly on: string | undefined
  /** Its text is this file: `# on 10.0.0.1: /entrypoint.sh`, or `# /etc/litefs.yml`. */
  readonly file: string | undefined
}

export interface Section {
  readonly title: string
  readonly blocks: readonly Block[]
}

/** The parts of a page under its titles of the second degree. */
export function sectionsOf(page: string): Section[] {
  const sections: { title: string; blocks: Block[] }[] = []
  let block: { language: string; lines: string[] } | undefined
  for (const line of readFileSync(join(ROOT, page), "utf8").split("\n")) {
    const fence = /^```(?<language>\w*)$/.exec(line)
    if (block !== undefined && fence !== null) {
      sections.at(-1)?.blocks.push(blockOf(block.language, block.lines.join("\n")))
      block = undefined
    } else if (block !== undefined) block.lines.push(line)
    else if (fence !== null) block = { language: fence.groups?.language ?? "", lines: [] }
    else if (line.startsWith("## ")) sections.push({ title: line.slice(3), blocks: [] })
  }
  return sections
}

function blockOf(language: string, text: string): Block {
  const head = /^# (?:on (?<on>every machine|[\d.]+))?[^\n/]*?(?<file>\/[\w./-]+)?$/m.exec(
    text.split("\n", 1)[0] ?? "",
  )
  const { on, file } = head?.groups ?? {}
  const content = file === undefined ? text : text.slice(text.indexOf("\n") + 1)
  return { language, text: content, on, file }
}
