import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { NodeFacts } from "../../src/cli/command/child-environment.ts"
import { supervise } from "../../src/cli/command/supervisor.ts"
import type { SupervisedCommand, SuperviseOptions } from "../../src/cli/command/supervisor-state.ts"
import { messageOf } from "../../src/lib/errors.ts"
import { configureLog } from "../../src/lib/log.ts"
import { appeared } from "../support/appeared.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { FakeEvents } from "../support/fake-io.ts"
import { FakeNode } from "../support/fake-node.ts"
import { LogLines } from "../support/log-lines.ts"
import { until } from "../support/until.ts"

let dir: string

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "litefs-supervisor-"))
  configureLog({ level: "error", format: "text" })
})
afterAll(() => rmSync(dir, { recursive: true }))

/** A supervisor with a fake node, a fake clock, and a real child. */
class Scene {
  readonly node = new FakeNode()
  readonly clock = new FakeClock()
  readonly events = new FakeEvents()
  readonly opening = Promise.withResolvers<void>()
  readonly errors: string[] = []
  readonly code: Promise<number>

  constructor(command?: string[], options: Partial<SuperviseOptions> = {}) {
    this.code = supervise({
      open: () => this.opening.promise.then(() => this.node),
      command: command && { words: command, isForCandidate: false },
      events: this.events,
      clock: this.clock,
      report: (error) => this.errors.push(messageOf(error)),
      ...options,
    })
  }

  /** With a node that is ready, so that the command starts. */
  static ready(command?: string[], options: Partial<SuperviseOptions> = {}): Scene {
    const scene = new Scene(command, options)
    scene.opening.resolve()
    scene.node.becomeReady.resolve()
    return scene
  }

  async outcome() {
    const code = await this.code
    // Whatever happened, nothing is left that could happen later.
    expect(this.events.listenerCount).toBe(0)
    expect(this.clock.timerCount).toBe(0)
    return { code, calls: this.node.calls, errors: this.errors }
  }
}

let sceneCount = 0

/** A shell script that first creates a file, so that the test knows when it runs. */
async function running(script: string): Promise<Scene & { output(): string }> {
  const path = join(dir, `output-${++sceneCount}`)
  const command = ["sh", "-c", `exec >"$1"; ${script}`, "sh", path]
  const scene = Scene.ready(command)
  await appeared(path, /started/)
  return Object.assign(scene, { output: () => readFileSync(path, "utf8") })
}

const SLEEP = "while :; do sleep 0.02; done"

describe("supervise() waits for the node", () => {
  test("and says every 30 s that the command has not been started, and why", async () => {
    using log = new LogLines()
    const scene = new Scene(["true"])
    scene.node.reason = "not connected to the primary yet"
    scene.opening.resolve()
    await new Promise(setImmediate)
    scene.clock.advance(29_999)
    expect(log.text).not.toContain("not been started")
    scene.clock.advance(60_001.4)
    const line =
      /the command has not been started yet" command=true reason="not connected to the primary yet" waited=/g
    expect(log.text.match(line)).toHaveLength(3)
    expect(log.text).toContain("waited=1m30s")
    scene.node.becomeReady.resolve()
    expect((await scene.outcome()).code).toBe(0)
  })

  test("and names the databases that the command has to do without", async () => {
    using log = new LogLines()
    const scene = Scene.ready(["true"])
    scene.node.databasesLeftOut = ["a.db", "b.db"]
    expect((await scene.outcome()).code).toBe(0)
    expect(log.text).toMatch(/level=warn .* left out, litefs info says why" databases="a.db, b.db"/)
  })

  test("but no longer than --sync-timeout, and then starts the command with what is here", async () => {
    using log = new LogLines()
    const scene = new Scene(["sh", "-c", "exit 7"], { syncTimeoutMs: 5000 })
    scene.opening.resolve()
    await new Promise(setImmediate)
    scene.clock.advance(5000)
    expect(await scene.outcome()).toEqual({
      code: 7,
      calls: ["ready", "aborted", "close"],
      errors: [],
    })
    expect(log.text).toContain("not in sync in time, going on with what is here")
  })

  test("and says nothing when there is no command", async () => {
    using log = new LogLines()
    const scene = new Scene()
    scene.opening.resolve()
    await new Promise(setImmediate)
    scene.clock.advance(90_000)
    scene.events.signal("SIGTERM")
    expect((await scene.outcome()).code).toBe(0)
    expect(log.text).not.toContain("not been started")
  })
})

describe("supervise() exits with", () => {
  test.each([
    [["true"], 0],
    [["sh", "-c", "exit 7"], 7],
    [["sh", "-c", "kill -TERM $$"], 143],
    [["sh", "-c", "kill -KILL $$"], 137],
  ])("the code of %j", async (command, code) => {
    const outcome = await Scene.ready(command).outcome()
    expect(outcome).toEqual({ code, calls: ["ready", "close"], errors: [] })
  })

  test("127 when there is no such command", async () => {
    expect(await Scene.ready(["litefs-no-such-program"]).outcome()).toEqual({
      code: 127,
      calls: ["ready", "close"],
      errors: ['Cannot run "litefs-no-such-program": no such program is in PATH'],
    })
    expect(await Scene.ready(["/no/such/program"]).outcome()).toMatchObject({
      code: 127,
      errors: ['Cannot run "/no/such/program": there is no such program'],
    })
  })

  test("126 when the command cannot be executed", async () => {
    const path = join(dir, "script")
    writeFileSync(path, "echo no first line\n")
    expect(await Scene.ready([path]).outcome()).toEqual({
      code: 126,
      calls: ["ready", "close"],
      errors: [`Cannot run "${path}": it is not an executable file`],
    })
    chmodSync(path, 0o755)
    expect(await Scene.ready([path]).outcome()).toMatchObject({
      code: 126,
      errors: [
        `Cannot run "${path}": it is not a program of this machine, a script should start with #!`,
      ],
    })
  })

  test("1 when the node does not open, and does not close it", async () => {
    const scene = new Scene(["true"])
    scene.opening.reject(new Error("no device"))
    expect(await scene.outcome()).toEqual({ code: 1, calls: [], errors: ["no device"] })
  })

  test("1 when the node does not become ready, and the command does not run", async () => {
    const scene = new Scene(["sh", "-c", "exit 7"])
    scene.opening.resolve()
    scene.node.becomeReady.reject(new Error("no snapshot"))
    expect(await scene.outcome()).toMatchObject({ code: 1, errors: ["no snapshot"] })
    expect(scene.node.calls).toEqual(["ready", "aborted", "close"])
  })

  test("1 when the node does not close", async () => {
    const scene = new Scene(["true"])
    scene.node.closeNode = () => Promise.reject(new Error("busy"))
    scene.opening.resolve()
    scene.node.becomeReady.resolve()
    expect(await scene.outcome()).toMatchObject({ code: 1, errors: ["busy"] })
  })

  test("1 when closing hangs", async () => {
    const scene = Scene.ready(["true"])
    const closing = Promise.withResolvers<void>()
    scene.node.closeNode = () => {
      closing.resolve()
      return new Promise(() => {})
    }
    await closing.promise
    await Bun.sleep(0)
    scene.clock.advance(30_000)
    expect(await scene.outcome()).toMatchObject({
      code: 1,
      errors: ["Cannot close the node: it is still busy after 30 s"],
    })
  })
})

describe("supervise() passes to the command", () => {
  test("every argument as it is", async () => {
    const path = join(dir, "arguments")
    const script = 'for word; do printf "[%s]" "$word"; done >"$0"'
    const words = ["two  words", "", "--", "-x", "$HOME", "*", "'\"", "ü\n"]
    expect((await Scene.ready(["sh", "-c", script, path, ...words]).outcome()).code).toBe(0)
    expect(readFileSync(path, "utf8")).toBe(words.map((word) => `[${word}]`).join(""))
  })

  test.each(["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)("%s", async (name) => {
    const scene = await running(`trap 'exit 5' ${name.slice(3)}; echo started; ${SLEEP}`)
    scene.events.signal(name)
    expect(await scene.outcome()).toEqual({ code: 5, calls: ["ready", "close"], errors: [] })
  })

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("%s, and waits for its end", async (name, code) => {
    const scene = await running("echo started; exec sleep 60")
    scene.events.signal(name)
    expect(await scene.outcome()).toEqual({ code, calls: ["ready", "close"], errors: [] })
  })

  test("signals that come while it stops", async () => {
    const scene = await running(
      `trap 'echo stopping' TERM; trap 'exit 5' USR1; echo started; ${SLEEP}`,
    )
    scene.events.signal("SIGTERM")
    await appeared(join(dir, `output-${sceneCount}`), /stopping/)
    scene.events.signal("SIGUSR1")
    expect((await scene.outcome()).code).toBe(5)
  })

  test("nothing that the keyboard has sent it already", async () => {
    const scene = await running(`trap 'echo twice' INT; trap 'exit 5' USR1; echo started; ${SLEEP}`)
    scene.events.signal("SIGINT", true)
    scene.events.signal("SIGUSR1")
    expect((await scene.outcome()).code).toBe(5)
    expect(scene.output()).toBe("started\n")
    expect(scene.clock.timerCount).toBe(0)
  })
})

describe("supervise() lets the node leave before the command is told to stop", () => {
  async function leaving() {
    const scene = await running(
      `trap 'echo told; exit 5' TERM; trap 'echo usr1' USR1; trap 'exit 5' USR2; echo started; ${SLEEP}`,
    )
    const left = Promise.withResolvers<void>()
    scene.node.leaveNode = () => left.promise
    scene.events.signal("SIGTERM")
    return Object.assign(scene, { left, file: join(dir, `output-${sceneCount}`) })
  }
  const outcome = { code: 5, calls: ["ready", "leave", "close"], errors: [] }

  test("and other signals reach the command meanwhile", async () => {
    const scene = await leaving()
    scene.events.signal("SIGUSR1")
    await appeared(scene.file, /usr1/)
    expect(scene.output()).not.toContain("told")
    scene.left.resolve()
    expect(await scene.outcome()).toEqual(outcome)
  })

  test("and does not wait longer when that fails", async () => {
    const scene = await leaving()
    scene.left.reject(new Error("nobody is there"))
    expect(await scene.outcome()).toEqual(outcome)
  })

  test("and not for ever", async () => {
    const scene = await leaving()
    scene.clock.advance(5000)
    expect(await scene.outcome()).toEqual(outcome)
  })

  test("and not when it is told a second time", async () => {
    const scene = await leaving()
    scene.events.signal("SIGTERM")
    expect(await scene.outcome()).toEqual(outcome)
  })

  test("and closes the node when the command ends by itself, or the node fails", async () => {
    const first = await leaving()
    first.events.signal("SIGUSR2")
    expect(await first.outcome()).toEqual(outcome)
    const second = await leaving()
    second.node.fail.resolve(new Error("disk gone"))
    expect(await second.outcome()).toEqual({ ...outcome, code: 1, errors: ["disk gone"] })
  })
})

describe("supervise() kills a command that was told to stop", () => {
  const STUBBORN = `trap '' TERM INT; echo started; ${SLEEP}`

  test("after the grace period", async () => {
    const scene = await running(STUBBORN)
    scene.events.signal("SIGTERM")
    scene.clock.advance(9_999)
    expect(scene.node.calls).toEqual(["ready"])
    scene.clock.advance(1)
    expect(await scene.outcome()).toEqual({ code: 137, calls: ["ready", "close"], errors: [] })
  })

  test("and goes on without it when it hangs in the kernel", async () => {
    const scene = await running(STUBBORN)
    scene.events.signal("SIGTERM")
    scene.clock.advance(10_000)
    scene.clock.advance(5_000) // before the kernel can tell of its end
    const { code, calls, errors } = await scene.outcome()
    expect({ code, calls }).toEqual({ code: 1, calls: ["ready", "close"] })
    expect(errors[0]).toMatch(/^Cannot end the command with pid \d+: it hangs in the kernel/)
  })

  test.each(["SIGTERM", "SIGINT"] as const)("at a second signal, %s", async (name) => {
    const scene = await running(STUBBORN)
    scene.events.signal("SIGTERM")
    scene.events.signal(name)
    expect((await scene.outcome()).code).toBe(137)
  })
})

describe("supervise() stops on a signal", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const)(
    "%s, with 0 when there is no command",
    async (name) => {
      const scene = new Scene()
      scene.opening.resolve()
      scene.node.becomeReady.resolve()
      await Bun.sleep(0)
      scene.events.signal("SIGUSR1")
      scene.events.signal(name)
      expect(await scene.outcome()).toEqual({ code: 0, calls: ["ready", "close"], errors: [] })
    },
  )

  test.each([
    [undefined, 0],
    [["true"], 143],
  ])("while it waits, with the command %j", async (command, code) => {
    const scene = new Scene(command)
    scene.opening.resolve()
    await Bun.sleep(0)
    scene.events.signal("SIGTERM")
    expect(await scene.outcome()).toEqual({
      code,
      calls: ["ready", "aborted", "close"],
      errors: [],
    })
  })

  test.each([
    [undefined, 0],
    [["true"], 130],
  ])("while the node opens, with the command %j", async (command, code) => {
    const scene = new Scene(command)
    scene.events.signal("SIGINT")
    scene.opening.resolve()
    expect(await scene.outcome()).toEqual({ code, calls: ["close"], errors: [] })
  })
})

describe("supervise() ends when the node fails", () => {
  test("with 1, after stopping the command", async () => {
    const scene = await running(`trap 'echo stopped; exit 0' TERM; echo started; ${SLEEP}`)
    scene.node.fail.resolve(new Error("disk gone"))
    expect(await scene.outcome()).toEqual({
      code: 1,
      calls: ["ready", "close"],
      errors: ["disk gone"],
    })
    expect(scene.output()).toBe("started\nstopped\n")
  })

  test("with 1, while there is no command, while it waits, and while it opens", async () => {
    const serving = Scene.ready()
    serving.node.fail.resolve(new Error("disk gone"))
    expect(await serving.outcome()).toMatchObject({ code: 1, errors: ["disk gone"] })

    const waiting = new Scene(["true"])
    waiting.opening.resolve()
    waiting.node.fail.resolve(new Error("disk gone"))
    expect(await waiting.outcome()).toMatchObject({ code: 1, errors: ["disk gone"] })

    const opening = new Scene(["true"])
    opening.events.crash(new Error("a bug"))
    opening.opening.resolve()
    expect(await opening.outcome()).toEqual({ code: 1, calls: ["close"], errors: ["a bug"] })
  })

  test("and when an error was not caught anywhere", async () => {
    const scene = await running("echo started; exec sleep 60")
    scene.events.crash(new Error("a bug"))
    expect(await scene.outcome()).toMatchObject({ code: 1, errors: ["a bug"] })
  })
})

/** A command that adds a word to a file. */
function adds(path: string, word: string, isForCandidate = false): SupervisedCommand {
  return { words: ["sh", "-c", `echo ${word} >>"$0"`, path], isForCandidate }
}

describe("supervise() with commands before", () => {
  test("runs them in order, each to its end, when the node is ready", async () => {
    const path = join(dir, "in-order")
    const slow = { words: ["sh", "-c", 'sleep 0.05; echo a >>"$0"', path], isForCandidate: false }
    const scene = new Scene(adds(path, "c").words as string[], { before: [slow, adds(path, "b")] })
    scene.opening.resolve()
    await Bun.sleep(0)
    expect(existsSync(path)).toBe(false)
    scene.node.becomeReady.resolve()
    expect(await scene.outcome()).toEqual({ code: 0, calls: ["ready", "close"], errors: [] })
    expect(readFileSync(path, "utf8")).toBe("a\nb\nc\n")
  })

  test.each([
    [true, "a\nb\nc\n"],
    [false, "b\n"],
  ])("leaves out those for candidates, candidate: %p", async (isCandidate, output) => {
    const path = join(dir, `candidate-${isCandidate}`)
    const scene = new Scene(undefined, {
      before: [adds(path, "a", true), adds(path, "b")],
      command: adds(path, "c", true),
    })
    scene.node.isCandidate = isCandidate
    scene.opening.resolve()
    scene.node.becomeReady.resolve()
    if (!isCandidate) {
      // Without its command the node goes on until it is told to stop.
      await appeared(path, /b/)
      scene.events.signal("SIGTERM")
    }
    await scene.outcome()
    expect(readFileSync(path, "utf8")).toBe(output)
  })

  test("ends with the code of one that fails, and runs no other", async () => {
    const path = join(dir, "failing")
    const fails = { words: ["sh", "-c", "exit 4"], isForCandidate: false }
    const scene = Scene.ready(["touch", path], { before: [fails, adds(path, "no")] })
    expect(await scene.outcome()).toEqual({
      code: 4,
      calls: ["ready", "close"],
      errors: ['Cannot run "sh -c exit 4": it ended with exit code 4, nothing after it is run'],
    })
    expect(existsSync(path)).toBe(false)
  })

  test("ends with 1 when the node fails, after stopping the one that runs", async () => {
    const path = join(dir, "node-fails")
    const stops = `echo up >"$0"; trap 'echo stopped >>"$0"; exit 0' TERM; ${SLEEP}`
    const before = [{ words: ["sh", "-c", stops, path], isForCandidate: false }]
    const scene = Scene.ready(["false"], { before })
    await appeared(path, /up/)
    scene.node.fail.resolve(new Error("disk gone"))
    expect(await scene.outcome()).toMatchObject({ code: 1, errors: ["disk gone"] })
  })
})

test("supervise() tells commands what the node is when they start", async () => {
  const path = join(dir, "facts")
  const env = ({ primaryHostname }: NodeFacts) => ({
    PATH: process.env.PATH,
    NAME: primaryHostname,
  })
  const scene = Scene.ready(["sh", "-c", 'echo "$NAME" >"$0"', path], { env })
  expect((await scene.outcome()).code).toBe(0)
  expect(readFileSync(path, "utf8")).toBe("node-1\n")
})

test("supervise() does not wait when it is to skip that", async () => {
  const scene = new Scene(["sh", "-c", "exit 5"], { skipSync: true })
  scene.opening.resolve()
  expect(await scene.outcome()).toEqual({ code: 5, calls: ["close"], errors: [] })
})

test("supervise() tells of each child as long as it runs", async () => {
  const seen: string[] = []
  const children = { add: () => void seen.push("add"), delete: () => void seen.push("delete") }
  const before = [{ words: ["true"], isForCandidate: false }]
  await Scene.ready(["true"], { before, children }).outcome()
  expect(seen).toEqual(["add", "delete", "add", "delete"])
})

describe("supervise() that does not exit on errors", () => {
  const options = { exitOnError: false }

  test("closes a node that fails before the command, and stays", async () => {
    const scene = new Scene(["true"], options)
    const closed = Promise.withResolvers<void>()
    scene.node.closeNode = async () => closed.resolve()
    scene.opening.resolve()
    scene.node.becomeReady.reject(new Error("no snapshot"))
    await closed.promise
    await Bun.sleep(0)
    scene.clock.advance(3 * 3_600_000)
    scene.events.signal("SIGTERM")
    expect(await scene.outcome()).toEqual({
      code: 1,
      calls: ["ready", "aborted", "close"],
      errors: ["no snapshot"],
    })
  })

  test("closes a node that fails while it stays", async () => {
    const scene = Scene.ready(["litefs-no-such-program"], options)
    await until("an error is said", () => scene.errors.length > 0)
    expect(scene.node.calls).toEqual(["ready"])
    scene.node.fail.resolve(new Error("disk gone"))
    await until("the node is closed", () => scene.node.calls.includes("close"))
    scene.events.signal("SIGTERM")
    expect(await scene.outcome()).toMatchObject({ code: 127, calls: ["ready", "close"] })
  })
})
