/** The command line as a real process: streams, signals and the exit code. */
import { describe, expect, test } from "bun:test"
import { Litefs } from "../support/litefs-process.ts"

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
    const litefs = new Litefs(["--", "echo", "never"], { STAGE: "waiting" })
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
