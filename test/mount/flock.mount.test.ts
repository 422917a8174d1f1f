/** flock(2) on files of the mount, as util-linux' flock(1) uses it. */
import { expect, test } from "bun:test"
import { mkdtempSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import { expectSame, failureOf, output, run, sqlite3, start } from "../support/client.ts"
import { canMount, Scope } from "../support/node.ts"
import { pair } from "../support/pair.ts"

/** Its exit code when the lock is not had. */
const REFUSED = 9

async function flock(...words: string[]): Promise<number | null> {
  return (await start(["flock", "-E", `${REFUSED}`, ...words]).ended).code
}

test.skipIf(!canMount)(
  "flock(1) on a file of the mount makes processes wait, refuses those that do not, and can be shared",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(node, "a.db", "create table t(x)")
    const file = `${node.mount}/a.db`
    const directory = mkdtempSync(join(scope.directory, "flock-"))
    const [log, go] = [join(directory, "log"), join(directory, "go")]
    const hold = `echo held >> "$0"; while [ ! -e "$1" ]; do sleep 0.02; done; echo released >> "$0"`
    const holder = start(["flock", file, "sh", "-c", hold, log, go])
    await appeared(log, /held/)
    expect(await flock("-n", file, "true")).toBe(REFUSED)
    expect(await flock("-n", "-s", file, "true")).toBe(REFUSED)
    expect(await flock("-w", "0.1", file, "true")).toBe(REFUSED)
    const waiter = start(["flock", file, "sh", "-c", 'echo next >> "$0"', log])

    // SQLite uses other locks.
    sqlite3(node, "a.db", "insert into t values(1)")
    writeFileSync(go, "")
    await output(holder)
    await output(waiter)
    expect(run(["cat", log])).toBe("held\nreleased\nnext\n")
    expect(await flock("-s", file, "flock", "-n", "-s", file, "true")).toBe(0)
    expect(await flock("-s", file, "flock", "-n", "-E", "9", file, "true")).toBe(REFUSED)
    expect(await flock("-n", file, "true")).toBe(0)
  },
  30_000,
)

test.skipIf(!canMount)(
  "a lock goes with the process that has it, and one that waits for it can be ended",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(node, "a.db", "create table t(x)")
    const file = `${node.mount}/a.db`
    const log = join(scope.directory, "log")
    const holder = start(["flock", "-F", file, "sh", "-c", 'echo held >> "$0"; exec sleep 60', log])
    await appeared(log, /held/)
    const waiter = start(["flock", file, "true"])
    const patient = start(["flock", file, "true"])
    waiter.kill("SIGTERM")
    expect((await waiter.ended).signal).toBe("SIGTERM")
    expect(await flock("-n", file, "true")).toBe(REFUSED)
    holder.kill("SIGKILL")
    expect((await patient.ended).code).toBe(0)
    expect(await flock("-n", file, "true")).toBe(0)
  },
  30_000,
)

test.skipIf(!canMount)(
  "a program that cuts the lock file off when it opens it gets its lock, as `exec 9>` and open(…, 'w') do",
  async () => {
    await using scope = await pair({ sql: "create table t(x)" })
    const { primary, replica } = scope
    await expectSame(primary, replica, "a.db")
    for (const { mount } of [primary, replica]) {
      const file = `${mount}/a.db-lock`
      const hold = `exec 9>"$0"; flock -n 9 || exit 7; flock -n -E ${REFUSED} "$0" true; echo $?`
      expect(run(["bash", "-c", hold, file])).toBe(`${REFUSED}\n`)
      run(["python3", "-c", "import sys; open(sys.argv[1], 'w').close()", file])
      run(["truncate", "-s", "0", file])
      expect(failureOf(["truncate", "-s", "1", file])).toContain("Permission denied")
      expect(failureOf(["bash", "-c", 'echo x > "$0"', file])).toContain("Permission denied")
      for (const name of ["a.db-pos", ".lag"]) {
        expect(failureOf(["sh", "-c", ': > "$0"', `${mount}/${name}`])).toMatch(
          /Permission denied|cannot create/,
        )
      }
      const missing = failureOf(["flock", `${mount}/nope.db-lock`, "true"])
      expect(missing).toContain("No such file or directory")
    }
  },
  30_000,
)
