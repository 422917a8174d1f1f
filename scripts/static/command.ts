/** Programs that a build runs. */
import { spawn } from "node:child_process"
import { once } from "node:events"

interface CommandOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
}

/** Runs a program and returns its output; what it says is in the error when it fails. */
export async function run(
  command: readonly [string, ...string[]],
  options: CommandOptions = {},
): Promise<string> {
  const [program, ...args] = command
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] })
  const output: Buffer[] = []
  const errors: Buffer[] = []
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk))
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk))
  const [code, signal] = await once(child, "close")
  if (code === 0) return Buffer.concat(output).toString()
  const said = Buffer.concat([...errors, ...output])
    .toString()
    .trim()
    .slice(-4000)
  throw new Error(`Cannot run ${command.join(" ").slice(0, 300)}: ${code ?? signal}\n${said}`)
}

/** Runs a line of bash, where a failure anywhere in a pipe counts. Values are passed as `$1`, `$2`, … */
export function runShell(line: string, args: readonly string[], options: CommandOptions = {}) {
  return run(["bash", "-c", `set -euo pipefail; ${line}`, "bash", ...args], options)
}

/** Runs all, two at a time: as many as there are cores on small machines. */
export async function runAll(
  commands: readonly (readonly [string, ...string[]])[],
  options: CommandOptions = {},
): Promise<void> {
  const queue = [...commands]
  const lane = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      await run(next, options)
    }
  }
  await Promise.all([lane(), lane()])
}
