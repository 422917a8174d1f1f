/** LiteFS as the entry point of a container: litefs.yml, the commands it runs, and what they may ask of it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { canMount, freePort, mountsBelow, PROGRAM, Scope, type TestNode } from "../support/node.ts"

setDefaultTimeout(120_000)

/** `litefs …` next to a node. */
function litefs(node: TestNode, args: readonly string[], input = "") {
  const [program, ...words] = PROGRAM
  const { status, stdout, stderr } = spawnSync(program as string, [...words, ...args], {
    encoding: "utf8",
    input,
    timeout: 30_000,
    env: { ...process.env, LITEFS_URL: node.url, LITEFS_FUSE_DIR: node.mount },
  })
  return { code: status, out: stdout, err: stderr }
}

/** One file for all nodes, as users of the original have it: only variables differ. */
const CONFIG = `
fuse:
  dir: "\${DIR}/mnt"
data:
  dir: "\${DIR}/data"
http:
  addr: "127.0.0.1:\${PORT}"
lease:
  type: "static"
  hostname: primary.internal
  advertise-url: "http://127.0.0.1:\${PRIMARY_PORT}"
  candidate: \${PORT == PRIMARY_PORT}
exec:
  - cmd: "sh -c 'echo setting up'"
  - cmd: "sh -c 'echo only where writes are taken'"
    if-candidate: true
  - cmd: "sh -c 'env | grep ^LITEFS_ | sort; echo up; exec sleep 1000'"
`

/** `litefs mount` alone, with the file. */
async function configured(scope: Scope, primaryPort?: number): Promise<TestNode> {
  const port = await freePort()
  const directory = join(scope.directory, String(port))
  spawnSync("mkdir", ["-p", join(directory, "mnt")])
  const env = { DIR: directory, PORT: String(port), PRIMARY_PORT: String(primaryPort ?? port) }
  const node = await scope.spawn({ directory, port, env, config: CONFIG })
  await node.logged(/^up$/m)
  return node
}

describe.skipIf(!canMount)("litefs mount with the original's litefs.yml", () => {
  test("starts a primary and a replica of it, and litefs sql and run tell them apart", async () => {
    await using scope = new Scope()
    const primary = await configured(scope)
    const replica = await configured(scope, primary.port)

    expect(primary.output).toMatch(
      /^setting up\n[\s\S]*^only where writes are taken\n[\s\S]*^up\n/m,
    )
    expect(primary.output).toMatch(/^LITEFS_ROLE=primary$/m)
    expect(primary.output).toMatch(/^LITEFS_PRIMARY_HOSTNAME=primary\.internal$/m)

    expect(replica.output).toMatch(/^setting up\n[\s\S]*^up\n/m)
    expect(replica.output).not.toMatch(/^only where/m)
    for (const fact of [
      `DATA_DIR=${replica.data}`,
      `DIR=${replica.mount}`,
      `FUSE_DIR=${replica.mount}`,
      "PRIMARY_HOSTNAME=primary.internal",
      `PRIMARY_URL=${primary.url}`,
      "ROLE=replica",
      `URL=${replica.url}`,
    ]) {
      expect(replica.output).toContain(`\nLITEFS_${fact}\n`)
    }

    const schema = "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); SELECT count(*) AS n FROM t;"
    const migrate = (node: TestNode) =>
      litefs(
        node,
        ["run", "--if-primary", "--wait", "--", ...PROGRAM, "sql", "--create", "--json", "app.db"],
        schema,
      )
    expect(migrate(replica)).toEqual({
      code: 0,
      out: "",
      err: "node is not the primary, skipping execution\n",
    })
    expect(migrate(primary)).toEqual({ code: 0, out: '[{"n":2}]\n', err: "" })

    const wait = ["wait", "--pos", "app.db=2", "--timeout", "20s"]
    expect(litefs(replica, wait).code).toBe(0)
    expect(litefs(replica, ["sql", "--raw", "app.db", "SELECT a FROM t"]).out).toBe("1\n2\n")

    const hint = "this node is a replica, writes belong on the primary, primary.internal"
    const made = litefs(replica, ["sql", "--create", "new.db", "CREATE TABLE t(a)"])
    expect(made.err).toEndWith(`unable to open database file; ${hint}\n`)
    for (const mode of ["delete", "wal"]) {
      const set = litefs(primary, ["sql", "--raw", "app.db", `PRAGMA journal_mode = ${mode}`])
      expect(set).toEqual({ code: 0, out: `${mode}\n`, err: "" })
      const pos = litefs(primary, ["sql", "--raw", "app.db", "INSERT INTO t VALUES (3)"])
      expect(pos.code).toBe(0)
      expect(litefs(replica, ["wait", "--synced", "--timeout", "20s"]).code).toBe(0)
      const refused = litefs(replica, ["sql", "app.db", "INSERT INTO t VALUES (4)"])
      expect(refused.code).toBe(1)
      expect(refused.err).toContain(`${hint}, or need --with-halt-lock`)
    }

    expect(await replica.stop()).toEqual({ code: 143, signal: null })
    expect(await primary.stop()).toEqual({ code: 143, signal: null })
    expect(mountsBelow(scope.directory)).toEqual([])
  })
})

describe.skipIf(!canMount)("litefs mount leaves no mount behind", () => {
  test.each([
    ["a command before fails", ["--exec", "sh -c 'exit 4'"], ["echo", "no"], 4],
    ["the command cannot be started", [], ["litefs-no-such-program"], 127],
    ["the command ends", ["--exec", "true"], ["sh", "-c", "exit 3"], 3],
  ])("when %s", async (_, flags, command, code) => {
    await using scope = new Scope()
    const node = await scope.spawn({ flags, command })
    expect(await node.exited).toEqual({ code, signal: null })
    expect(node.output).not.toMatch(/^no$/m)
    expect(mountsBelow(scope.directory)).toEqual([])
  })

  test("when it is told to stop while it waits for a primary that is not there", async () => {
    await using scope = new Scope()
    const follows = { url: `http://127.0.0.1:${await freePort()}` }
    const node = await scope.node({ follows, command: ["echo", "no"] })
    expect(await node.stop()).toEqual({ code: 143, signal: null })
    expect(mountsBelow(scope.directory)).toEqual([])
  })

  test("as PID 1 of a namespace", async () => {
    await using scope = new Scope()
    const through = [
      "unshare",
      "--pid",
      "--fork",
      "--mount-proc",
      "--propagation",
      "unchanged",
      "--kill-child",
    ]
    const node = await scope.spawn({ through, command: ["sh", "-c", "echo up; exec sleep 1000"] })
    await node.logged(/^up$/m)
    const [init] = spawnSync("pgrep", ["-P", String(node.pid)], { encoding: "utf8" }).stdout.split(
      "\n",
    )
    process.kill(Number(init), "SIGTERM")
    expect(await node.exited).toEqual({ code: 143, signal: null })
    expect(mountsBelow(scope.directory)).toEqual([])
  })
})

test.skipIf(!canMount)(
  "litefs mount --skip-sync starts the command without a primary",
  async () => {
    await using scope = new Scope()
    const follows = { url: `http://127.0.0.1:${await freePort()}` }
    const node = await scope.spawn({
      follows,
      flags: ["--skip-sync"],
      command: ["sh", "-c", "exit 6"],
    })
    expect(await node.exited).toEqual({ code: 6, signal: null })
  },
)

test.skipIf(!canMount)(
  "the token of a flag or a file is not in the environment of commands",
  async () => {
    await using scope = new Scope()
    const token = "Eeg8aiPhoh3Ohs4ae"
    const command = ["sh", "-c", "env; exit 0"]
    const flag = await scope.spawn({ flags: ["--auth-token", token], command })
    expect(await flag.exited).toEqual({ code: 0, signal: null })
    expect(await flag.wholeOutput).toContain("LITEFS_ROLE=primary")
    expect(await flag.wholeOutput).not.toContain(token)

    const inherited = await scope.spawn({ env: { LITEFS_AUTH_TOKEN: token }, command })
    expect(await inherited.exited).toEqual({ code: 0, signal: null })
    expect(await inherited.wholeOutput).toContain(`LITEFS_AUTH_TOKEN=${token}\n`)
  },
)
