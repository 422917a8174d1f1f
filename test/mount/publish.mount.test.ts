import { expect } from "bun:test"
import { spawn, spawnSync } from "node:child_process"
import { join } from "node:path"
import { caughtUp, pos, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, STRICT } from "../support/node.ts"
import { pair } from "../support/pair.ts"

test.each(["", STRICT])(
  "a commit that its writer did not live to publish is published%s",
  async (how) => {
    await using scope = await pair({ flags: flagsOf(how) })
    const { primary, replica } = scope
    const path = `${primary.mount}/a.db`
    sqlite3(primary, "a.db", "pragma journal_mode=wal; create table t(x);")
    // Somebody who has the wal-index open all the time: or the next client would recover the WAL.
    const holder = spawn("sqlite3", [path], { stdio: ["pipe", "pipe", "ignore"] })
    scope.defer(() => void holder.kill("SIGKILL"))
    holder.stdin.write("insert into t values('before'); select 'open';\n")
    await new Promise((resolve) => holder.stdout.once("data", resolve))
    const was = pos(primary, "a.db")

    const program = join(import.meta.dir, "../support/dead-writer.ts")
    const writer = spawnSync(process.execPath, [program, path, "before", "after!"], {
      timeout: 10_000,
      encoding: "utf8",
    })
    expect({ signal: writer.signal, stderr: writer.stderr }).toEqual({
      signal: "SIGKILL",
      stderr: "",
    })

    expect(sqlite3(primary, "a.db", "select x from t")).toBe("after!")
    await primary.logged(/published the last transaction of a client that died/)
    expect(pos(primary, "a.db")).not.toBe(was)
    sqlite3(primary, "a.db", "insert into t values('next');")
    await caughtUp(primary, replica, "a.db")
    expect(primary.output).not.toContain("took back")
    expect(sqlite3(replica, "a.db", "select group_concat(x) from t")).toBe("after!,next")
    expect(sqlite3(primary, "a.db", "pragma integrity_check")).toBe("ok")
  },
  30_000,
)
