/** The command line as a real process: streams, signals and the exit code. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const PROGRAM = join(import.meta.dirname, "../support/litefs-program.ts")

let dir: string

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "litefs-process-"))
  mkdirSync(join(dir, "mount"))
})
afterAll(() => rmSync(dir, { recursive: true }))

/** `litefs mount … -- COMMAND`, with what it has printed. */
class Litefs {
  readonly process: ChildProcess
  out = ""
  err = ""

  constructor(command: string[], env: Record<string, string> = {}) {
    const dirs = ["--fuse-dir", join(dir, "mount"), "--data-dir", join(dir, "data")]
    const words = ["mount", "--primary", "--log-level", "error", ...dirs, ...command]
    this.process = spawn(process.execPath, [PROGRAM, ...words], { env: { ...process.env, ...env } })
    this.process.stdout?.setEncoding("utf8").on("data", (text) => {
      this.out += text
    })
    this.process.stderr?.setEncoding("utf8").on("data", (text) => {
      this.err += text
    })
  }

  async printed(text: string): Promise<void> {
    while (!this.out.includes(text))
      await once(this.process.stdout as NodeJS.ReadableStream, "data")
  }

  async outcome() {
    const [code] = await once(this.process, "close")
    return { code, out: this.out, err: this.err }
  }
}

describe("litefs mount as a process", () => {
  test("connects the command with its own streams, and exits with its code", async () => {
    const litefs = new Litefs([
      "--",
      "sh",
      "-c",
      'read -r line; echo "got $line"; echo no >&2; exit 3',
    ])
    litefs.process.stdin?.end("a line\n")
    expect(await litefs.outcome()).toEqual({ code: 3, out: "got a line\nclosed\n", err: "no\n" })
  })

  test("forwards a real signal and waits for the command", async () => {
    const litefs = new Litefs([
      "--",
      "sh",
      "-c",
      "trap 'echo stopped; exit 4' TERM; echo up; read -r _",
    ])
    await litefs.printed("up")
    litefs.process.kill("SIGTERM")
    expect(await litefs.outcome()).toEqual({ code: 4, out: "up\nstopped\nclosed\n", err: "" })
  })

  test("closes the node when it is told to stop while it waits", async () => {
    const litefs = new Litefs(["--", "echo", "never"], { NEVER_READY: "1" })
    await litefs.printed("waiting")
    litefs.process.kill("SIGTERM")
    expect(await litefs.outcome()).toEqual({ code: 143, out: "waiting\nclosed\n", err: "" })
  })

  test("says in one line that there is no such command", async () => {
    expect(await new Litefs(["--", "litefs-no-such-program"]).outcome()).toEqual({
      code: 127,
      out: "closed\n",
      err: 'ERROR: Cannot run "litefs-no-such-program": no such program is in PATH\n',
    })
  })
})
