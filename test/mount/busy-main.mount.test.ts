/** Clients wait for the threads that have the databases, and not for the one that speaks with other nodes. */
import { expect } from "bun:test"
import { existsSync, readFileSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import { run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"
import { until } from "../support/until.ts"

const ROOT = resolve(import.meta.dir, "../..")

test("while the main thread is busy, clients write, close their databases and open lock files", async () => {
  await using scope = new Scope()
  const stopped = join(scope.directory, "stopped")
  scope.defer(() => rmSync(stopped, { force: true })) // or the node cannot end
  const preload = join(ROOT, "test/support/stopped-main.ts")
  const program = `shift ${PROGRAM.length}; exec "${process.execPath}" --preload "${preload}" "${ROOT}/src/main.ts" "$@"`
  const node = await scope.node({
    through: ["sh", "-c", program, "sh"],
    env: { STOPPED: stopped },
  })
  sqlite3(node, "a.db", "pragma journal_mode = wal; create table t(x)")
  process.kill(node.pid, "SIGUSR2")
  await until(
    "the main thread is stopped",
    () => existsSync(stopped) && readFileSync(stopped, "utf8") === "yes",
  )

  sqlite3(node, "a.db", "insert into t values(1)")
  run(["sh", "-c", `exec 3<>"${node.mount}/a.db-lock"`])
  expect(sqlite3(node, "a.db", "select x from t")).toBe("1")
  expect(existsSync(stopped)).toBe(true)
  rmSync(stopped)
}, 60_000)
