/** What commands say when they cannot reach the node. */
import { expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
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
