import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { run } from "../../src/cli/main-command.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo } from "../support/fake-io.ts"
import { freePort } from "../support/node.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

setDefaultTimeout(60_000)

interface Answers {
  readonly info?: { readonly isPrimary: boolean; readonly candidate: boolean }
  /** One after the other, the last one again and again. */
  readonly health?: readonly number[]
  readonly promote?: readonly [status: number, text: string]
}

function nodeOf({
  info,
  health = [200],
  promote = [404, "404 page not found"],
}: Answers): Promise<FakeApi> {
  let count = 0
  return FakeApi.start((response: ServerResponse, request) => {
    switch (new URL(request.url ?? "", "http://a").pathname) {
      case "/info":
        return response.end(JSON.stringify(info))
      case "/health":
        response.writeHead(health[Math.min(count++, health.length - 1)] ?? 500)
        return response.end(JSON.stringify({ reason: "not mounted yet" }))
      case "/promote":
        response.writeHead(promote[0])
        return response.end(promote[1])
      default:
        response.writeHead(500)
        return response.end()
    }
  })
}

async function litefs(api: { url: string }, flags: readonly string[], command: readonly string[]) {
  const io = new FakeIo({ LITEFS_URL: api.url })
  const code = await run(["run", ...flags, "--", ...command], io)
  expect(io.events.listenerCount).toBe(0)
  return { code, out: io.out, err: io.err }
}

const REPLICA = { isPrimary: false, candidate: false }
const CANDIDATE = { isPrimary: false, candidate: true }
const PRIMARY = { isPrimary: true, candidate: true }

describe("litefs run", () => {
  test("takes the original's -config, in which the node's address is, and -v", async () => {
    await using api = await nodeOf({ info: PRIMARY })
    using directory = new TemporaryDirectory()
    const port = new URL(api.url).port
    const path = directory.write("l.yml", `http: {addr: ":${port}"}\nlease: {type: consul}\n`)
    const io = new FakeIo()
    const flags = ["-config", path, "-v", "-if-candidate"]
    expect(await run(["run", ...flags, "--", "true"], io)).toBe(0)
    expect(io.err).toBe("-v changes nothing: messages are always printed\n")
    expect(api.requests[0]?.url).toBe("/info")
  })

  test("says of a -config that cannot be read what is wrong, for itself", async () => {
    const io = new FakeIo()
    expect(await run(["run", "-config", "/no/such.yml", "--", "true"], io)).toBe(1)
    expect(io.err).toBe(
      'ERROR: Cannot run litefs run: --config is "/no/such.yml": there is no such file\n',
    )
  })

  test("says of an address in it what it should be", async () => {
    using directory = new TemporaryDirectory()
    const path = directory.write("l.yml", "http: {addr: localhost}\n")
    const io = new FakeIo()
    expect(await run(["run", "-config", path, "--", "true"], io)).toBe(2)
    expect(io.err).toMatch(/http.addr \(\S+:1\) is "localhost", it should be HOST:PORT or :PORT/)
  })

  test.each([
    [["true"], 0],
    [["sh", "-c", "exit 7"], 7],
    [["sh", "-c", "kill -TERM $$"], 143],
  ])("exits with the code of %j, without a node", async (command, code) => {
    const api = { url: `http://127.0.0.1:${await freePort()}` }
    expect(await litefs(api, [], command)).toEqual({ code, out: "", err: "" })
  })

  test("says that there is no such program", async () => {
    expect(await litefs({ url: "http://127.0.0.1:1" }, [], ["litefs-no-such-program"])).toEqual({
      code: 127,
      out: "",
      err: 'ERROR: Cannot run "litefs-no-such-program": no such program is in PATH\n',
    })
  })

  const SKIPPED_PRIMARY = "node is not the primary, skipping execution\n"
  const SKIPPED_CANDIDATE = "node is not a candidate, skipping execution\n"
  test.each([
    ["--if-primary", PRIMARY, 7, ""],
    ["--if-primary", CANDIDATE, 0, SKIPPED_PRIMARY],
    ["--if-primary", REPLICA, 0, SKIPPED_PRIMARY],
    ["--if-candidate", PRIMARY, 7, ""],
    ["--if-candidate", CANDIDATE, 7, ""],
    ["--if-candidate", REPLICA, 0, SKIPPED_CANDIDATE],
  ])("%s on a node that is %j", async (flag, info, code, err) => {
    await using api = await nodeOf({ info })
    expect(await litefs(api, [flag], ["sh", "-c", "exit 7"])).toEqual({ code, out: "", err })
  })

  test("--wait asks until the node is ready", async () => {
    const port = await freePort()
    using directory = new TemporaryDirectory()
    const path = join(directory.path, "ran")
    const child = litefsProcess([
      "run",
      "--wait",
      "--url",
      `http://127.0.0.1:${port}`,
      "--",
      "touch",
      path,
    ])
    const ended = once(child, "close")
    let count = 0
    const ranBefore: boolean[] = []
    await using _ = await FakeApi.start((response) => {
      ranBefore.push(existsSync(path))
      response.writeHead(count++ < 2 ? 503 : 200)
      response.end("{}")
    }, port)
    expect((await ended)[0]).toBe(0)
    expect(ranBefore).toEqual([false, false, false])
    expect(existsSync(path)).toBe(true)
  })

  test("--wait gives up, and does not run the command", async () => {
    await using api = await nodeOf({ health: [503] })
    expect(await litefs(api, ["--wait", "--timeout", "0"], ["sh", "-c", "exit 7"])).toEqual({
      code: 1,
      out: "",
      err: "ERROR: Cannot wait over 0: not mounted yet\n",
    })
  })

  test("--promote asks the node, and waits until it is the primary", async () => {
    await using api = await nodeOf({ promote: [200, ""] })
    expect((await litefs(api, ["--promote"], ["sh", "-c", "exit 7"])).code).toBe(7)
    expect(api.requests.map(({ method }) => method)).toEqual(["POST", "GET"])
    expect(api.requests[0]?.url).toBe("/promote")
    expect(api.requests[1]?.url).toStartWith("/health?role=primary&wait=")
  })

  test("takes no --promote from the environment, where it is meant for litefs mount", async () => {
    const io = new FakeIo({ LITEFS_PROMOTE: "1", LITEFS_URL: "http://127.0.0.1:1" })
    expect(await run(["run", "--", "sh", "-c", "exit 7"], io)).toBe(7)
  })

  test.each([
    [404, "404 page not found", "has no handoff of the primary, run the command on the primary"],
    [409, "not eligible to become primary", "ERROR: not eligible to become primary"],
    [500, "", "Cannot promote: status 500"],
  ])("--promote when the node answers %i", async (status, text, problem) => {
    await using api = await nodeOf({ promote: [status, text] })
    const { code, err } = await litefs(api, ["--promote"], ["sh", "-c", "exit 7"])
    expect(code).toBe(1)
    expect(err).toContain(problem)
  })

  test.each([
    [["run"], 'no command is given, write it after "--"'],
    [["run", "true"], '"true" is not a flag, write a command to run after "--"'],
    [
      ["run", "--promote", "--if-primary", "--", "true"],
      "both --promote and --if-primary are given, give one of them",
    ],
    [
      ["run", "--timeout", "soon", "--", "true"],
      '--timeout is "soon", it should be a duration, like 10s or 1h30m',
    ],
  ])("refuses %j", async (args, problem) => {
    const io = new FakeIo()
    expect(await run(args, io)).toBe(2)
    expect(io.err).toBe(`ERROR: Cannot run litefs run: ${problem}\n`)
  })
})

function litefsProcess(args: string[]): ChildProcess {
  const program = join(import.meta.dirname, "../../src/main.ts")
  return spawn(process.execPath, [program, ...args])
}

/** Its lines, one after the other. */
function linesOf(child: ChildProcess): { next(): Promise<string | undefined> } {
  const lines = createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]()
  return { next: async () => (await lines.next()).value }
}

describe("litefs run as a process", () => {
  test("connects the command with its own streams", async () => {
    const child = litefsProcess(["run", "--", "sh", "-c", 'read -r line; echo "got $line"; exit 3'])
    child.stdin?.end("a line\n")
    let out = ""
    child.stdout?.on("data", (part) => {
      out += part
    })
    expect((await once(child, "close"))[0]).toBe(3)
    expect(out).toBe("got a line\n")
  })

  test.concurrent.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)(
    "passes %s on, and waits for the command however often",
    async (signal) => {
      const trap = `trap 'n=$((n+1)); echo $n; [ $n = 2 ] && exit 9' ${signal.slice(3)}`
      const child = litefsProcess([
        "run",
        "--",
        "sh",
        "-c",
        `n=0; ${trap}; echo up; while :; do sleep 0.05; done`,
      ])
      const lines = linesOf(child)
      expect(await lines.next()).toBe("up")
      child.kill(signal)
      expect(await lines.next()).toBe("1")
      child.kill(signal)
      expect((await once(child, "close"))[0]).toBe(9)
    },
  )

  test("ends with 128+n when it is told to stop while it waits", async () => {
    const asked = Promise.withResolvers<void>()
    await using api = await FakeApi.start(() => asked.resolve())
    const child = litefsProcess(["run", "--wait", "--url", api.url, "--", "echo", "no"])
    await asked.promise
    child.kill("SIGTERM")
    expect((await once(child, "close"))[0]).toBe(143)
  })
})
