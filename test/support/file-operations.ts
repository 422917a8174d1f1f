/** Runs file operations in the mount of a node, in one client process, and says what came of each. */
import { run } from "./client.ts"
import type { TestNode } from "./node.ts"

const PROGRAM = `
  import fs from "node:fs"
  import { execFileSync } from "node:child_process"

  const [directory, text, user] = process.argv.slice(-3)
  process.chdir(directory)
  const { uid, gid, groups, umask } = JSON.parse(user)
  if (uid !== undefined) {
    process.umask(umask)
    process.setgroups(groups)
    process.setgid(gid)
    process.setuid(uid)
  }
  const open = (name, flags, use) => {
    const fd = fs.openSync(name, flags, 0o644)
    try {
      return use(fd)
    } finally {
      fs.closeSync(fd)
    }
  }
  const bytes = (size) => Buffer.alloc(size)
  const tool = (...words) => {
    try {
      execFileSync(words[0], words.slice(1), { stdio: ["ignore", "pipe", "pipe"] })
    } catch (error) {
      throw Object.assign(new Error(), { code: String(error.stderr).trim().split(": ").at(-1) })
    }
  }
  const results = {}
  for (const source of JSON.parse(text)) {
    try {
      const value = new Function("fs", "open", "bytes", "tool", "return " + source)(fs, open, bytes, tool)
      results[source] = value === undefined ? "ok" : value
    } catch (error) {
      results[source] = error.code ?? error.message
    }
  }
  console.log(JSON.stringify(results))
`

export type Outcome = string | number | boolean

/** Who the client process is; else it is who runs the test. */
export interface User {
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
  readonly umask: number
}

/**
 * Each operation is an expression of JavaScript over \`fs\`, \`open(name, flags, fd => …)\`, \`bytes(size)\` and
 * \`tool(...words)\`. Its outcome is its value, "ok" when it has none, or the code of its error.
 */
export function fileOperations(
  { mount }: Pick<TestNode, "mount">,
  operations: readonly string[],
  user: User | undefined = undefined,
): Record<string, Outcome> {
  const list = JSON.stringify(operations)
  const words = [mount, list, JSON.stringify(user ?? {})]
  const command = ["node", "--input-type=module", "-e", PROGRAM, "--", ...words]
  return JSON.parse(run(command)) as Record<string, Outcome>
}
