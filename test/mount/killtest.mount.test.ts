import { expect, test } from "bun:test"
import { join } from "node:path"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { caughtUp, nodeCommand, sqlite3, start } from "../support/client.ts"
import { canMount, Scope } from "../support/node.ts"

test.skipIf(!canMount)("a killed replica ends", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  let replica = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", "pragma journal_mode=wal; create table t(x)")
  const done = join(scope.directory, "done")
  const w = start(nodeCommand(primary, `import {existsSync} from "node:fs"; const d = db("a.db"); const i = d.prepare("insert into t values(randomblob(3000))"); const del = d.prepare("delete from t"); let n=0; while(!existsSync(${JSON.stringify(done)})) { i.run(); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)),0,0,1); if (n++ % 500 == 0) del.run() }`), { limitMs: 120000 })
  let stuck = 0
  for (let k = 0; k < 60; k++) {
    await caughtUp(primary, replica, "a.db").catch(() => {})
    await Bun.sleep(50 + Math.random() * 50)
    const pid = replica.pid
    replica.signal("SIGKILL")
    const end = Date.now() + 3000
    while (existsSync(`/proc/${pid}/status`) && !/State:\s*Z/.test("") && Date.now() < end) {
      await Bun.sleep(5)
    }
    const t0 = Date.now(); if (existsSync(`/proc/${pid}/status`)) { stuck++; console.log("stuck", k, readFileSync(`/proc/${pid}/status`,"utf8").match(/State.*/)?.[0]) }
    const { directory, port } = replica
    replica = await scope.node({ directory, port, follows: primary }); console.log(k, "restart", Date.now()-t0, replica.output.split("\n")[1])
  }
  writeFileSync(done, "")
  await w.ended
  console.log("stuck", stuck)
}, 300_000)
