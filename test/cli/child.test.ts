import { afterEach, describe, expect, test } from "bun:test"
import { chmodSync, existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type ChildExit, startChild } from "../../src/cli/command/child.ts"
import { shimProgram } from "../../src/sys/process/death-signal.ts"
import { appeared } from "../support/appeared.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

function run(command: readonly string[], env?: Record<string, string>): Promise<ChildExit> {
  return new Promise((onExit) => startChild(command, onExit, { env, endsWithUs: true }))
}

describe("startChild() of one that ends with us", () => {
  test("passes words, the environment and the exit code on as they are", async () => {
    using directory = new TemporaryDirectory()
    const out = join(directory.path, "out")
    const script = `printf '%s|' "$0" "$@" "$ONE" "$PPID" > ${out}; exit 7`
    const exit = await run(["sh", "-c", script, "a b", "", "$c"], {
      PATH: process.env.PATH ?? "",
      ONE: "1 2",
    })
    expect(exit).toEqual({ code: 7 })
    expect(readFileSync(out, "utf8")).toBe(`a b||$c|1 2|${process.pid}|`)
  })

  test("tells what cannot be executed as ever", async () => {
    using directory = new TemporaryDirectory()
    const lost = directory.write("lost", "#!/no/such/interpreter\n")
    const text = directory.write("text", "echo no first line\n")
    for (const path of [lost, text]) chmodSync(path, 0o755)
    expect((await run(["litefs-no-such-program"])).code).toBe(127)
    expect((await run([lost])).code).toBe(127)
    expect((await run([text])).code).toBe(126)
    expect((await run([directory.path])).code).toBe(126)
  })

  let sleeper: number | undefined

  afterEach(() => {
    try {
      if (sleeper !== undefined) process.kill(sleeper, "SIGKILL")
    } catch {
      // As it should be.
    }
  })

  test("ends it when we are killed", async () => {
    using directory = new TemporaryDirectory()
    const out = join(directory.path, "pid")
    const child = join(import.meta.dirname, "../../src/cli/command/child.ts")
    const words = ["sh", "-c", `echo "is $$" > ${out}; exec sleep 1000`]
    const program = directory.write(
      "program.ts",
      `import { startChild } from ${JSON.stringify(child)}
       startChild(${JSON.stringify(words)}, () => {}, { endsWithUs: true })`,
    )
    const parent = Bun.spawn([process.execPath, program])
    await appeared(out, /is \d+\n/)
    sleeper = Number(/\d+/.exec(readFileSync(out, "utf8"))?.[0])
    expect(existsSync(`/proc/${sleeper}`)).toBe(true)
    parent.kill("SIGKILL")
    await parent.exited
    for (let wait = 0; wait < 100 && existsSync(`/proc/${sleeper}/exe`); wait++) await Bun.sleep(20)
    expect(isRunning(sleeper)).toBe(false)
  })

  test.if(Bun.which("qemu-aarch64-static") !== null)("runs on arm64", async () => {
    using directory = new TemporaryDirectory()
    const program = shimProgram("arm64", process.pid) as Uint8Array
    const path = directory.write("shim", program)
    chmodSync(path, 0o755)
    const qemu = Bun.spawn(["qemu-aarch64-static", path, "/bin/sh", "sh", "-c", "exit 9"])
    expect(await qemu.exited).toBe(9)
    const other = directory.write("other", shimProgram("arm64", process.pid + 1) as Uint8Array)
    chmodSync(other, 0o755)
    const orphan = Bun.spawn(["qemu-aarch64-static", other, "/bin/sh", "sh", "-c", "exit 9"])
    expect(await orphan.exited).toBe(126)
  })
})

function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return false
  }
}
