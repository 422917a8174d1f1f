/**
 * Signals at every stage of `litefs mount`, in a real process: (stage × signal × what the child does) → exit code.
 *
 * A child of these tests prints "up" when its traps are set, so nothing depends on time.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import type { SignalName } from "../../src/cli/command/process-events.ts"
import { Litefs } from "../support/litefs-process.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

setDefaultTimeout(60_000)

type Row = readonly [signal: SignalName, child: Child, code: number]

/** What a child does about the signal that it is sent. */
type Child = "default" | "exits 0" | "exits 5" | "ignores it"

function script(signal: SignalName, child: Child, then = "echo up"): string {
  const name = signal.slice(3)
  const traps = {
    default: `trap - ${name}`,
    "exits 0": `trap 'exit 0' ${name}`,
    "exits 5": `trap 'exit 5' ${name}`,
    "ignores it": `trap '' ${name}`,
  }
  // `read` is interrupted by a trap at once, unlike a program that the shell waits for.
  return `${traps[child]}; ${then}; while :; do sleep 0.05; done`
}

/** Only one that ignores the signal is to be killed, however slow the machine is. */
function stopTimeout(child: Child): string {
  return `--stop-timeout=${child === "ignores it" ? "50ms" : "10m"}`
}

describe("a signal while a command runs: exit code", () => {
  test.concurrent.each<Row>([
    ["SIGTERM", "default", 143],
    ["SIGTERM", "exits 0", 0],
    ["SIGTERM", "exits 5", 5],
    ["SIGTERM", "ignores it", 137],
    ["SIGINT", "default", 130],
    ["SIGINT", "exits 5", 5],
    ["SIGINT", "ignores it", 137],
    ["SIGHUP", "default", 129],
    ["SIGHUP", "exits 0", 0],
    ["SIGQUIT", "exits 5", 5],
    ["SIGUSR1", "default", 138],
    ["SIGUSR1", "exits 5", 5],
    ["SIGUSR2", "default", 140],
    ["SIGUSR2", "exits 0", 0],
  ])("%s, the command: %s → %i", async (signal, child, code) => {
    const litefs = new Litefs([stopTimeout(child), "--", "sh", "-c", script(signal, child)])
    await litefs.printed("up\n")
    litefs.signal(signal)
    expect(await litefs.outcome()).toEqual({ code, out: "up\nclosed\n", err: "" })
  })

  test.concurrent.each<SignalName>(["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])(
    "%s, which it ignores, ends nothing",
    async (signal) => {
      const litefs = new Litefs(["--", "sh", "-c", script(signal, "ignores it")])
      await litefs.printed("up\n")
      litefs.signal(signal)
      litefs.signal("SIGTERM")
      expect((await litefs.outcome()).code).toBe(143)
    },
  )
})

describe("a signal while --exec runs: exit code", () => {
  test.concurrent.each<Row>([
    ["SIGTERM", "default", 143],
    ["SIGTERM", "exits 0", 143],
    ["SIGTERM", "exits 5", 143],
    ["SIGTERM", "ignores it", 143],
    ["SIGINT", "default", 130],
    ["SIGINT", "exits 0", 130],
    ["SIGHUP", "default", 129],
    ["SIGQUIT", "exits 5", 5],
    ["SIGUSR1", "default", 138],
    ["SIGUSR2", "exits 5", 5],
  ])("%s, it: %s → %i, and the next ones do not run", async (signal, child, code) => {
    const command = `sh -c "${script(signal, child)}"`
    const litefs = new Litefs([
      stopTimeout(child),
      "--exec",
      command,
      "--exec",
      "echo no",
      "--",
      "echo",
      "no",
    ])
    await litefs.printed("up\n")
    litefs.signal(signal)
    const outcome = await litefs.outcome()
    expect({ code: outcome.code, out: outcome.out }).toEqual({ code, out: "up\nclosed\n" })
  })

  test("which goes on when it ends well all the same", async () => {
    const command = `sh -c "${script("SIGUSR1", "exits 0")}"`
    const litefs = new Litefs(["--exec", command, "--", "echo", "next"])
    await litefs.printed("up\n")
    litefs.signal("SIGUSR1")
    expect(await litefs.outcome()).toEqual({ code: 0, out: "up\nnext\nclosed\n", err: "" })
  })
})

type Stage = "opening" | "waiting"

describe("a signal before there is a child: exit code", () => {
  test.concurrent.each<readonly [Stage, SignalName, command: readonly string[], code: number]>([
    ["opening", "SIGTERM", ["--", "echo", "no"], 143],
    ["opening", "SIGINT", ["--exec", "echo no"], 130],
    ["opening", "SIGQUIT", [], 0],
    ["waiting", "SIGTERM", ["--", "echo", "no"], 143],
    ["waiting", "SIGTERM", ["--exec", "echo no"], 143],
    ["waiting", "SIGTERM", [], 0],
    ["waiting", "SIGINT", ["--", "echo", "no"], 130],
    ["waiting", "SIGHUP", ["--", "echo", "no"], 129],
    ["waiting", "SIGQUIT", ["--", "echo", "no"], 131],
  ])("%s, %s, with %j → %i", async (stage, signal, command, code) => {
    const litefs = new Litefs(command, { STAGE: stage }, { logLevel: "info" })
    await litefs.printed(`${stage}\n`)
    litefs.signal(signal)
    await litefs.logged("msg=stopping")
    litefs.process.stdin?.end()
    const outcome = await litefs.outcome()
    expect({ code: outcome.code, out: outcome.out }).toEqual({ code, out: `${stage}\nclosed\n` })
  })

  test.concurrent.each<Stage>(["opening", "waiting"])(
    "SIGUSR1 and SIGUSR2 mean nothing while %s",
    async (stage) => {
      const litefs = new Litefs(["--", "echo", "no"], { STAGE: stage }, { logLevel: "info" })
      await litefs.printed(`${stage}\n`)
      litefs.signal("SIGUSR1")
      litefs.signal("SIGUSR2")
      litefs.signal("SIGTERM")
      await litefs.logged("msg=stopping")
      litefs.process.stdin?.end()
      expect((await litefs.outcome()).code).toBe(143)
    },
  )
})

test.concurrent.each<readonly [SignalName, number]>([
  ["SIGTERM", 0],
  ["SIGINT", 0],
  ["SIGHUP", 0],
  ["SIGQUIT", 0],
])("%s without a command: exit code %i", async (signal, code) => {
  const litefs = new Litefs(["--exec", "echo ran"], {}, { logLevel: "debug" })
  await litefs.printed("ran\n")
  await litefs.logged("no command")
  litefs.signal(signal)
  expect((await litefs.outcome()).code).toBe(code)
})

describe("--exit-on-error=false stays until a signal comes, and exits with the code of the failure", () => {
  const STAY = "--exit-on-error=false"

  test.concurrent.each<
    readonly [args: string[], env: Record<string, string>, error: string, code: number]
  >([
    [[STAY], { NODE_ERROR: "no device" }, "no device", 1],
    [[STAY, "--exec", "sh -c 'exit 4'", "--", "echo", "no"], {}, 'Cannot run "sh -c exit 4"', 4],
    [[STAY, "--", "litefs-no-such-program"], {}, "no such program is in PATH", 127],
  ])("%j, %j", async (args, env, error, code) => {
    const litefs = new Litefs(args, env, { logLevel: "warn" })
    await litefs.logged("staying")
    expect(litefs.err).toContain(`ERROR: ${error}`.replace("ERROR: no such", "no such"))
    litefs.signal("SIGUSR1")
    litefs.signal("SIGTERM")
    const isOpen = env.NODE_ERROR === undefined
    expect(await litefs.outcome()).toMatchObject({ code, out: isOpen ? "closed\n" : "" })
  })

  test("not when the command itself fails", async () => {
    const litefs = new Litefs([STAY, "--", "sh", "-c", "exit 3"])
    expect((await litefs.outcome()).code).toBe(3)
  })
})

describe("as PID 1 of a namespace, litefs mount", () => {
  const unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
  const canUnshare = Bun.spawnSync([...unshare, "true"]).exitCode === 0

  /** Ten processes lose their parent and end; without somebody who reaps them, `kill -0` finds them for ever. */
  const ORPHANS = `
    for i in 0 1 2 3 4 5 6 7 8 9; do
      pids="$pids $(sh -c '(exit 3) >/dev/null & echo $!')"
    done
    for pid in $pids; do
      while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
    done
    echo none left
    exit "$1"`

  test.skipIf(!canUnshare)("reaps orphans, and gets the exit codes of its own", async () => {
    using directory = new TemporaryDirectory()
    const path = directory.write("orphans.sh", ORPHANS)
    const litefs = new Litefs(
      ["--exec", `sh ${path} 0`, "--", "sh", path, "7"],
      {},
      { through: unshare },
    )
    const out = "none left\nnone left\nclosed\n"
    expect(await litefs.outcome()).toEqual({ code: 7, out, err: "" })
  })

  test.skipIf(!canUnshare).each<readonly [SignalName, Child, number]>([
    ["SIGTERM", "default", 143],
    ["SIGTERM", "ignores it", 137],
    ["SIGINT", "exits 5", 5],
    ["SIGHUP", "default", 129],
  ])("passes %s on, the command: %s → %i", async (signal, child, code) => {
    const litefs = new Litefs(
      [stopTimeout(child), "--", "sh", "-c", script(signal, child, `kill -${signal.slice(3)} 1`)],
      {},
      { through: unshare },
    )
    expect((await litefs.outcome()).code).toBe(code)
  })

  // The kernel keeps from PID 1 what it has no handler for.
  test.skipIf(!canUnshare).each<readonly [Stage | "--exec" | "no command", SignalName, number]>([
    ["opening", "SIGTERM", 143],
    ["waiting", "SIGTERM", 143],
    ["waiting", "SIGINT", 130],
    ["waiting", "SIGHUP", 129],
    ["waiting", "SIGQUIT", 131],
    ["--exec", "SIGTERM", 143],
    ["--exec", "SIGUSR1", 138],
    ["no command", "SIGTERM", 0],
    ["no command", "SIGQUIT", 0],
  ])("is ended, %s, by %s from outside → %i", async (stage, signal, code) => {
    const commands = {
      ...{ opening: ["--", "echo", "no"], waiting: ["--", "echo", "no"], "no command": [] },
      "--exec": ["--exec", `sh -c "${script(signal, "default")}"`, "--", "echo", "no"],
    }
    const options = { through: unshare, logLevel: "debug" }
    const litefs = new Litefs(commands[stage], { STAGE: stage }, options)
    if (stage === "--exec") await litefs.printed("up\n")
    else if (stage === "no command") await litefs.logged("no command")
    else await litefs.printed(`${stage}\n`)
    litefs.signalChild(signal)
    if (stage === "opening") {
      await litefs.logged("msg=stopping")
      litefs.process.stdin?.end()
    }
    const outcome = await litefs.outcome()
    expect([outcome.code, outcome.out.includes("no\n")]).toEqual([code, false])
    expect(outcome.out).toEndWith("closed\n")
  })
})
