/** The static file as PID 1 where there is nothing else: `FROM scratch`, and a root that has musl only. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { hostArchitecture } from "../../scripts/static/architecture.ts"
import { currentRevision, writeExecutables } from "../../scripts/static/executable.ts"
import { canMount, freePort } from "../support/node.ts"
import { type Container, type Layout, SmallRoot } from "../support/small-root.ts"

setDefaultTimeout(300_000)

const { LITEFS_PROGRAM } = process.env
let directory: string
let program: string

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "litefs-test-"))
  chmodSync(directory, 0o755)
  program = join(directory, "litefs")
  if (LITEFS_PROGRAM) copyFileSync(resolve(LITEFS_PROGRAM), program)
  else await writeExecutables(hostArchitecture(), await currentRevision(), { plain: program })
})

afterAll(() => {
  rmSync(directory, { recursive: true, force: true })
})

const FLAGS = ["--fuse-dir", "/litefs", "--data-dir", "/data"]
/** What is for the application is none of the runtime's or the linker's business. */
const FOR_THE_APPLICATION = { BUN_BE_BUN: "1", BUN_OPTIONS: "--revision", LD_PRELOAD: "/none.so" }

describe.skipIf(!canMount)("as PID 1", () => {
  test.each<Layout>(["empty", "alpine"])(
    "a primary and a replica in a root that is %s: commands, handoff, exit codes",
    async (layout) => {
      const roots = join(directory, layout)
      const [primaryRoot, replicaRoot] = await Promise.all(
        ["primary", "replica"].map((name) => SmallRoot.make(join(roots, name), layout, program)),
      )
      const [primaryPort, replicaPort] = [await freePort(), await freePort()]
      const url = `http://127.0.0.1:${primaryPort}`
      const nodes: Container[] = []
      try {
        const before = entriesOf(primaryRoot)
        const primary = primaryRoot?.start(
          [
            ...["/bin/litefs", "mount", "--primary", ...FLAGS],
            ...["--http-addr", `127.0.0.1:${primaryPort}`, "--", "/bin/probe"],
          ],
          FOR_THE_APPLICATION,
        ) as Container
        nodes.push(primary)
        expect(await primary.printed(/^up .*/m)).toBe(
          "up role=primary parent=1 database=- BUN_BE_BUN=1 LD_PRELOAD=/none.so",
        )
        const insert = "CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)"
        primary.run("/bin/litefs", "sql", "--create", "app.db", insert)

        const replica = replicaRoot?.start([
          ...["/bin/litefs", "mount", "--primary-url", url, "--candidate", ...FLAGS],
          ...["--http-addr", `127.0.0.1:${replicaPort}`, "--", "/bin/probe"],
        ]) as Container
        nodes.push(replica)
        expect(await replica.printed(/^up .*/m)).toBe(
          "up role=replica parent=1 database=SQLite format 3 BUN_BE_BUN=- LD_PRELOAD=-",
        )
        expect(replica.run("/bin/litefs", "sql", "app.db", "SELECT sum(x) FROM t")).toContain("3")

        const node = ["--url", url]
        primary.run("/bin/litefs", "export", ...node, "--name", "app.db", "/export.db")
        primary.run("/bin/litefs", "import", ...node, "--name", "copy.db", "/export.db")
        expect(primary.run("/bin/litefs", "sql", "copy.db", "SELECT sum(x) FROM t")).toContain("3")
        const halted = ["--with-halt-lock", "app.db", "INSERT INTO t VALUES (39)"]
        replica.run("/bin/litefs", "sql", ...halted)
        expect(primary.run("/bin/litefs", "sql", "app.db", "SELECT sum(x) FROM t")).toContain("42")

        // The role goes to the replica, and the exit code is the application's.
        primary.signal("SIGTERM")
        expect(await primary.exited).toBe(7)
        expect(entriesOf(primaryRoot)).toEqual([...before, "export.db"].sort())
        replica.run("/bin/litefs", "sql", "app.db", "INSERT INTO t VALUES (58)")
        expect(replica.run("/bin/litefs", "sql", "copy.db", "SELECT sum(x) FROM t")).toContain("3")
        expect(replica.run("/bin/litefs", "sql", "app.db", "SELECT sum(x) FROM t")).toContain("100")
        replica.signal("SIGTERM")
        expect(await replica.exited).toBe(7)
      } catch (error) {
        throw new Error(`${error}\n${nodes.map(({ output }) => output).join("\n---\n")}`)
      } finally {
        for (const node of nodes) node.kill()
      }
    },
  )

  /** What is in it at the top: nothing may be written anywhere but where it was told to. */
  function entriesOf(root: SmallRoot | undefined): string[] {
    return readdirSync(root?.directory ?? "").sort()
  }
})

test("it knows the commit that it is made of", () => {
  const { stdout } = spawnSync(program, ["version", "--json"], { encoding: "utf8" })
  const { commit, date } = JSON.parse(stdout)
  expect(commit).toMatch(/^[0-9a-f]{40}(-dirty)?$/)
  expect(date).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
})

describe.skipIf(!canMount)("the static file says in one line why it cannot start", () => {
  /** As somebody else than root, in a root of its own; `prepare` is a line of shell. */
  function start(file: string, prepare: string) {
    const root = mkdtempSync(join(directory, "root-"))
    chmodSync(root, 0o755)
    for (const name of ["proc", "bin"]) mkdirSync(join(root, name))
    copyFileSync(file, join(root, "bin/litefs"))
    const script = `root=$1; ${prepare}; exec chroot --userspec=65534:65534 "$root" /bin/litefs version`
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      ["-m", "sh", "-c", script, "sh", root],
      {
        encoding: "utf8",
      },
    )
    return { status, stdout, stderr }
  }
  const PROC = 'mount -t proc proc "$root/proc"'

  test("without /proc", () => {
    expect(start(program, ":")).toEqual({
      status: 1,
      stdout: "",
      stderr:
        "ERROR: Cannot start LiteFS: there is no /proc here, mount it: mount -t proc proc /proc\n",
    })
    expect(start(program, PROC).stderr).toBe("")
    expect(start(program, PROC).stdout).toMatch(/^litefs \d/)
  })

  test("where it may be executed and not read", () => {
    expect(start(program, `${PROC}; chmod 711 "$root/bin/litefs"`)).toEqual({
      status: 1,
      stdout: "",
      stderr:
        "ERROR: Cannot start LiteFS: this user may not read the program's file, only execute it: chmod a+r\n",
    })
  })

  test("when it is not whole", () => {
    const half = join(directory, "half")
    copyFileSync(program, half)
    truncateSync(half, 30_000_000)
    expect(start(half, PROC)).toEqual({
      status: 1,
      stdout: "",
      stderr: "ERROR: Cannot start LiteFS: the file is not whole, copy or download it again\n",
    })
  })
})

describe("the static file says in one line what the runtime would say in words of its own", () => {
  test.each<[problem: string, status: number, script: string]>([
    [
      "the working directory was removed, change to another one (cd)",
      1,
      'mkdir x; cd x; rmdir ../x; "$0" info',
    ],
    [
      "fewer than 16 files may be open, raise the limit (ulimit -n)",
      1,
      'ulimit -n 5; "$0" version',
    ],
    [
      "fewer than 16 files may be open, raise the limit (ulimit -n)",
      1,
      'ulimit -n 2; "$0" version',
    ],
    [
      "less than 2.5 GiB of addresses may be used, raise the limit (ulimit -v)",
      1,
      'ulimit -v 300000; "$0" version',
    ],
    [
      "less than 2.5 GiB of addresses may be used, raise the limit (ulimit -v)",
      1,
      'ulimit -v 2000000; "$0" ltx list .',
    ],
    [
      "the stack may have less than 256 KiB, raise the limit (ulimit -s)",
      1,
      'ulimit -s 64; "$0" version',
    ],
    ["an argument is not UTF-8 text: a\ufffdb", 2, '"$0" run -- echo "$(printf "a\\377b")"'],
    [
      "an argument is not UTF-8 text: \ufffd\ufffd\ufffd",
      2,
      '"$0" info "$(printf "\\355\\240\\200")"',
    ],
    ["an argument is not UTF-8 text: \ufffd", 2, '"$0" "$(printf "\\303")"'],
    [
      "a variable is not UTF-8 text: LITEFS_DATA_DIR",
      2,
      'LITEFS_DATA_DIR="/$(printf "\\377")" exec "$0" mount',
    ],
  ])("%s (%d): %s", (problem, status, script) => {
    const cwd = mkdtempSync(join(directory, "start-"))
    const result = spawnSync("bash", ["-c", script, program], { encoding: "utf8", cwd })
    expect([result.status, result.stdout, result.stderr]).toEqual([
      status,
      "",
      `ERROR: Cannot start LiteFS: ${problem}\n`,
    ])
  })

  test("what is UTF-8 text, or of others, is taken as it is", () => {
    const script = 'OTHER="$(printf "\\377")" exec "$0" run --url http://127.0.0.1:1 -- echo "$1"'
    const text = "é€🐘\u{10ffff}\ud7ff\ue000"
    const { status, stdout } = spawnSync("bash", ["-c", script, program, text], {
      encoding: "utf8",
    })
    expect([status, stdout]).toEqual([0, `${text}\n`])
  })
})
