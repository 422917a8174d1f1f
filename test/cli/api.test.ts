/** What commands say when they cannot reach the node. */
import { describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import { type AddressInfo, createServer as createRawServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { NodeApi } from "../../src/cli/node/api.ts"
import { socketProblem } from "../../src/cluster/connect-problem.ts"
import { FakeIo } from "../support/fake-io.ts"
import { freePort } from "../support/node.ts"

async function problemOf(url: string): Promise<string> {
  const io = new FakeIo()
  const code = await run(["info", "--url", url], io)
  expect({ code, out: io.out }).toEqual({ code: 1, out: "" })
  return io.err
}

test("a command that was not told where the node is says how to tell it", async () => {
  const origin = `http://127.0.0.1:${await freePort()}`
  const called = (isGiven: boolean) => {
    const args = { values: { url: { origin } }, isGiven: () => isGiven, spelling: () => "" }
    return new NodeApi(args as unknown as ConstructorParameters<typeof NodeApi>[0]).call("/info")
  }
  const advice = "; give the address of the node with --url"
  await expect(called(false)).rejects.toThrow(`(ECONNREFUSED)${advice}`)
  await expect(called(true)).rejects.toThrow(/\(ECONNREFUSED\)$/)
})

test("a host that there is not, and a port where nobody is", async () => {
  expect(await problemOf("http://no-host.invalid:20202")).toMatch(
    /^ERROR: Cannot reach LiteFS at http:\S+: (there is no host named|the name server does not answer for) "no-host.invalid".* \(E\w+\)\n$/,
  )
  const port = await freePort()
  expect(await problemOf(`http://127.0.0.1:${port}`)).toBe(
    `ERROR: Cannot reach LiteFS at http://127.0.0.1:${port}: nothing listens at 127.0.0.1:${port} (ECONNREFUSED)\n`,
  )
})

test("a socket that is not there, or of a node that has gone", async () => {
  const directory = mkdtempSync(join(tmpdir(), "litefs-api-"))
  try {
    const path = join(directory, "api.sock")
    const start = `ERROR: Cannot reach LiteFS at unix:${path}: `
    expect(await problemOf(`unix:${path}`)).toBe(
      `${start}there is no such socket, the node is not running or has another data directory (ENOENT)\n`,
    )
    writeFileSync(path, "")
    expect(await problemOf(`unix:${path}`)).toBe(
      `${start}nothing listens at the socket, the node is not running (ECONNREFUSED)\n`,
    )
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test("a socket that is for others", () => {
  const error = Object.assign(new Error("EACCES: Was there a typo in the url or port?"), {
    code: "EACCES",
  })
  expect(socketProblem(error).message).toBe(
    "permission denied, the socket is for LiteFS's own user and root; others use --url http://… (EACCES)",
  )
})

/** Calls back with the URL of a server. */
async function withServer(server: Server, use: (url: string) => Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.close()
  }
}

const web = (answer: RequestListener, use: (url: string) => Promise<void>) =>
  withServer(createServer({ keepAliveTimeout: 1 }, answer), use)

/** Answers whatever is asked with these bytes, and hangs up. */
const raw = (bytes: string, use: (url: string) => Promise<void>) =>
  withServer(
    createRawServer((socket) => {
      socket.on("error", () => {})
      socket.once("data", () => socket.end(bytes))
    }),
    use,
  )

const COMMANDS = [
  ["info"],
  ["promote"],
  ["import", "--name", "a.db", import.meta.path],
  ["export", "--name", "a.db", "-"],
  ["wait", "--synced", "--timeout", "200ms"],
  ["run", "--if-primary", "--", "true"],
  ["run", "--promote", "--", "true"],
] as const

async function called([name, ...words]: readonly string[], url: string) {
  const io = new FakeIo({ LITEFS_URL: url })
  const code = await run([name as string, ...words], io)
  return { code, out: io.out, err: io.err }
}

const ONE_LINE = /^ERROR: [^\n]+\n$/

describe("a web server that answers everything with 200", () => {
  test.each(COMMANDS.map((command) => [command] as const))("is not LiteFS: %p", (command) =>
    web(
      (_, response) => response.setHeader("Content-Type", "text/html").end("<html>the app</html>"),
      async (url) => {
        const { code, out, err } = await called(command, url)
        expect({ code, out }).toEqual({ code: 1, out: "" })
        expect(err).toMatch(ONE_LINE)
        expect(err).toContain("it is not LiteFS, it answers with status 200")
      },
    ),
  )

  test("the original is known by its /info", () =>
    web(
      (request, response) => {
        if (request.url !== "/info") return response.end()
        return response.end(JSON.stringify({ isPrimary: true, candidate: true, path: "/data" }))
      },
      async (url) => {
        expect(await called(["promote"], url)).toMatchObject({ code: 0 })
        expect(await called(["info", "--json"], url)).toMatchObject({ code: 0 })
      },
    ))
})

const HEAD = "HTTP/1.1 200 OK\r\nLitefs-Id: 0000000000000007\r\n"

describe("an answer that is no good is told in one line", () => {
  test.each([
    ["broken off", `${HEAD}Content-Length: 100\r\n\r\n{`],
    ["no HTTP", "\x00\x00\x12\x04\x00\r\n\r\n"],
    ["redirect", "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
    ["null", `${HEAD}Content-Length: 4\r\n\r\nnull`],
    ["HTML", `${HEAD}Content-Length: 6\r\n\r\n<html>`],
    ["shape", `${HEAD}Content-Length: 23\r\n\r\n{"databases":[null, 5]}`],
  ])("%s", (_, bytes) =>
    raw(bytes, async (url) => {
      for (const command of [["info"], ["run", "--if-primary", "--", "true"]]) {
        const { code, out, err } = await called(command, url)
        expect({ code, out }).toEqual({ code: 1, out: "" })
        expect(err).toMatch(ONE_LINE)
      }
    }),
  )

  test("an endless text is not read to its end", async () => {
    const part = "x".repeat(65536)
    await web(
      (_, response) => {
        response.writeHead(500, { "Litefs-Id": "7" })
        const more = () => {
          while (!response.destroyed && response.write(part));
          response.once("drain", more)
        }
        more()
      },
      async (url) => {
        const { code, err } = await called(["promote"], url)
        expect({ code, err }).toEqual({
          code: 1,
          err: `ERROR: Cannot use ${url}: its answer has over 1048576 bytes, it should have less\n`,
        })
      },
    )
  })
})
