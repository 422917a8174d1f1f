/** The flags for tokens and certificates: what they mean, what they refuse, and that nothing repeats a token. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { TlsFiles } from "../../src/http/server/tls-files.ts"
import { type CertificatePaths, Certificates } from "../support/certificates.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { FakeIo } from "../support/fake-io.ts"

const SECRET = "s3cret-of-the-test"

let certificates: Certificates
let pair: CertificatePaths
let directory: string
let mountFlags: string[]
beforeAll(() => {
  certificates = new Certificates()
  pair = certificates.make("node")
  directory = certificates.directory
  const fuseDir = join(directory, "mnt")
  mkdirSync(fuseDir)
  mountFlags = ["--fuse-dir", fuseDir, "--data-dir", join(directory, "data")]
  writeFileSync(file("token"), `${SECRET}\n`)
  writeFileSync(file("other"), "other\n")
  writeFileSync(file("empty"), "\n")
  writeFileSync(file("bad"), `${SECRET} and more\n`)
})
afterAll(() => certificates[Symbol.dispose]())

function file(name: string): string {
  return join(directory, name)
}

async function mount(args: string[], env: Record<string, string> = {}, role = ["--primary"]) {
  const io = new FakeIo(env)
  const words = ["mount", "--log-level", "error", ...role, ...mountFlags, ...args, "--", "true"]
  const code = await run(words, io)
  expect(io.err + io.out).not.toContain(SECRET)
  return { code, err: io.err, options: io.opened[0] }
}

describe("litefs mount with a token", () => {
  test("takes it from the flag, from a file, and from the environment", async () => {
    for (const [args, env] of [
      [["--auth-token", SECRET], {}],
      [["--auth-token-file", file("token")], {}],
      [[], { LITEFS_AUTH_TOKEN: SECRET }],
      [[], { LITEFS_AUTH_TOKEN_FILE: file("token") }],
      [["--auth-token-file", file("token")], { LITEFS_AUTH_TOKEN: "other" }],
      [["--auth-token", SECRET], { LITEFS_AUTH_TOKEN_FILE: file("other") }],
    ] as [string[], Record<string, string>][]) {
      const { code, options } = await mount(args, env)
      expect([code, options?.authToken]).toEqual([0, SECRET])
    }
    expect((await mount([])).options).not.toHaveProperty("authToken")
  })

  test.each<[string[], Record<string, string>, string]>([
    [["--auth-token="], {}, "--auth-token is empty, it should be TOKEN"],
    [["--auth-token", `${SECRET} x`], {}, "the token of --auth-token is not valid, it should"],
    [[], { LITEFS_AUTH_TOKEN: `"${SECRET}"` }, "the token of LITEFS_AUTH_TOKEN is not valid, it"],
    [["--auth-token-file", "empty"], {}, 'empty" is not valid, it is empty'],
    [["--auth-token-file", "bad"], {}, 'bad" is not valid, it should be made of letters'],
    [
      ["--auth-token-file", "token", "--auth-token", "x"],
      {},
      "both --auth-token and --auth-token-file are given, give one of them",
    ],
    [
      [],
      { LITEFS_AUTH_TOKEN_FILE: "token", LITEFS_AUTH_TOKEN: SECRET },
      "both LITEFS_AUTH_TOKEN and LITEFS_AUTH_TOKEN_FILE are given, give one of them",
    ],
  ])("refuses %p with %p", async (args, env, problem) => {
    const words = args.map((word, i) => (args[i - 1] === "--auth-token-file" ? file(word) : word))
    const { code, err } = await mount(words, env)
    expect(code).toBe(2)
    expect(err).toContain(problem)
  })

  test("fails when there is no such file", async () => {
    const { code, err } = await mount(["--auth-token-file", "/none"])
    expect({ code, err }).toEqual({
      code: 1,
      err: 'ERROR: Cannot use --auth-token-file "/none": there is no such file\n',
    })
  })
})

describe("litefs mount with certificates", () => {
  test("hands on where they are", async () => {
    const { options } = await mount([
      ...["--http-tls-cert", pair.cert, "--http-tls-key", pair.key],
      ...["--http-tls-ca", certificates.ca],
    ])
    expect(options?.tls).toEqual({
      certPath: pair.cert,
      keyPath: pair.key,
      caPath: certificates.ca,
    })
    const follower = ["--primary-url", "https://10.0.0.1:20202"]
    expect((await mount(["--http-tls-ca", "ca.crt"], {}, follower)).options?.tls).toEqual({
      caPath: join(process.cwd(), "ca.crt"),
    })
  })

  test.each<[string[], string]>([
    [["--http-tls-cert", "x"], "--http-tls-cert is given without --http-tls-key"],
    [["--http-tls-key", "x"], "--http-tls-key is given without --http-tls-cert"],
    [["--http-tls-ca", "x"], "--http-tls-ca is given and nothing uses TLS"],
  ])("refuses %p alone", async (args, problem) => {
    const { code, err } = await mount(args)
    expect(code).toBe(2)
    expect(err).toContain(problem)
  })
})

describe("a command that calls a node", () => {
  async function exported(args: string[], env: Record<string, string> = {}) {
    const io = new FakeIo(env)
    const code = await run(["export", ...args, "--name", "a.db", "-"], io)
    expect(io.err + io.out).not.toContain(SECRET)
    return { code, err: io.err, text: new TextDecoder().decode(io.bytes) }
  }

  test("shows the token", async () => {
    const shown: (string | undefined)[] = []
    await using api = await FakeApi.start((response, request) => {
      shown.push(request.headers.authorization)
      response.end("x")
    })
    await exported(["--url", api.url, "--auth-token-file", file("token")])
    await exported(["--url", api.url], { LITEFS_AUTH_TOKEN: SECRET })
    await exported(["--url", api.url])
    expect(shown).toEqual([`Bearer ${SECRET}`, `Bearer ${SECRET}`, undefined])
  })

  test("shows it to nobody to whom it is sent on", async () => {
    await using other = await FakeApi.start((response) => response.end("x"))
    await using api = await FakeApi.start((response) => {
      response.writeHead(302, { Location: other.url }).end()
    })
    const { code } = await exported(["--url", api.url], { LITEFS_AUTH_TOKEN: SECRET })
    expect([code, other.requests]).toEqual([1, []])
  })

  test("says what the node says when the token is another", async () => {
    await using api = await FakeApi.start((response) => {
      response.writeHead(401).end("unauthorized: this node has another token\n")
    })
    expect(await exported(["--url", api.url, "--auth-token", "x"])).toMatchObject({
      code: 1,
      err: "ERROR: unauthorized: this node has another token\n",
    })
  })

  test("speaks TLS with the certificates it is given", async () => {
    const { cert: certPath, key: keyPath } = pair
    const server = new ApiServer(
      { "/export": { GET: (_, response) => void response.end("content") } },
      {
        headers: { "Litefs-Id": "0000000000000007" },
        authToken: SECRET,
        tls: new TlsFiles({ certPath, keyPath, caPath: certificates.ca }),
        clock: new FakeClock(),
      },
    )
    const port = await server.listen({ host: "127.0.0.1", port: 0 })
    const env = {
      LITEFS_URL: `https://127.0.0.1:${port}`,
      LITEFS_AUTH_TOKEN: SECRET,
      LITEFS_HTTP_TLS_CERT: certPath,
      LITEFS_HTTP_TLS_KEY: keyPath,
      LITEFS_HTTP_TLS_CA: certificates.ca,
    }
    expect(await exported([], env)).toMatchObject({ code: 0, text: "content" })
    const plain = await exported(["--url", `http://127.0.0.1:${port}`], env)
    expect(plain.err).toStartWith(`ERROR: Cannot reach LiteFS at http://127.0.0.1:${port}: `)
    const believing = { LITEFS_URL: env.LITEFS_URL, LITEFS_AUTH_TOKEN: SECRET }
    const refused = await exported([], believing)
    expect([refused.code, refused.text]).toEqual([1, ""])
    expect(refused.err).toContain("certificate")
    const bad = await exported(["--http-tls-key", certificates.ca], env)
    expect([bad.code, bad.err]).toEqual([
      1,
      `ERROR: Cannot use --http-tls-key "${certificates.ca}": ` +
        "it should hold a private key in PEM format, without a passphrase\n",
    ])
    await server.close()
  })
})

describe("a file of a setting that never ends, keeps its reader waiting, or is no text", () => {
  const directory = mkdtempSync(join(tmpdir(), "litefs-given-"))
  const [pipe, huge] = [join(directory, "pipe"), join(directory, "huge")]
  beforeAll(() => {
    execFileSync("mkfifo", [pipe])
    writeFileSync(huge, "")
    truncateSync(huge, 9 * 1024 ** 3)
    writeFileSync(join(directory, "latin1"), Buffer.from("fuse: {dir: /caf\xe9}\n", "latin1"))
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  test.each([
    ["pipe", "it is a named pipe, it should be a file"],
    ["huge", "it has over 1048576 bytes, it should have less"],
    ["latin1", "it has bytes that are not UTF-8, it should be a text"],
    ["/dev/zero", "it is a device, it should be a file"],
  ])("is told in one line: %s", async (name, problem) => {
    const path = name.startsWith("/") ? name : join(directory, name)
    for (const words of [
      ["info", "--auth-token-file", path],
      ["info", "--url", "https://127.0.0.1:1", "--http-tls-ca", path],
      ["info", "--config", path],
      ["mount", "--config", path],
    ]) {
      const io = new FakeIo()
      expect(await run(words, io)).not.toBe(0)
      expect(io.err).toContain(problem)
    }
  })
})

test("a pipe that a shell has opened is read like a file", () => {
  const module = join(import.meta.dir, "../../src/http/server/given-file.ts")
  const script = `const { readGivenFile } = await import(${JSON.stringify(module)}); console.log(readGivenFile(process.argv[1]))`
  const read = (given: string) =>
    execFileSync("bash", ["-c", `"$0" -e "$1" ${given}`, process.execPath, script], {
      encoding: "utf8",
      timeout: 20_000,
    })
  expect(read("<(echo secret)")).toBe("secret\n\n")
  expect(read("/dev/stdin < <(echo secret)")).toBe("secret\n\n")
})
