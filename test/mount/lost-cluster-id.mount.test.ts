/** A primary whose file with the cluster id is gone goes on in its cluster, or says how it can. */
import { expect, test } from "bun:test"
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run, sqlite3 } from "../support/client.ts"
import { canMount, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { becomes } from "../support/node-api.ts"

const fileOf = (node: TestNode) => join(node.data, "clusterid")
const idOf = (node: TestNode) => readFileSync(fileOf(node), "utf8").trim()

function loseId(node: TestNode, withCopy: boolean): void {
  rmSync(fileOf(node))
  if (!withCopy) return
  const path = join(node.data, "lease.json")
  const { cluster, ...rest } = JSON.parse(readFileSync(path, "utf8"))
  expect(cluster).toMatch(/^LFSC/)
  writeFileSync(path, JSON.stringify(rest))
}

test.skipIf(!canMount)(
  "a primary without its clusterid takes the copy, or does not start",
  async () => {
    await using scope = new Scope()
    const first = await scope.node()
    const replica = await scope.node({ follows: first })
    sqlite3(first, "a.db", "create table t(x); insert into t values(1)")
    await replica.logged(/msg="connected to the primary"/)
    const id = idOf(first)
    expect(idOf(replica)).toBe(id)
    await first.stop()

    loseId(first, false)
    const again = await scope.again(first)
    expect(again.output).toMatch(
      /level=warn .*the file with the cluster id was gone, made it again/,
    )
    expect(idOf(again)).toBe(id)
    await again.stop()

    loseId(again, true)
    const { directory, port } = again
    const lost = await scope.spawn({ directory, port })
    expect(await lost.exited).toMatchObject({ code: 1 })
    expect(lost.output).toMatch(
      /^ERROR: Cannot be the primary: there is no .*clusterid", but .*; copy/m,
    )

    cpSync(fileOf(replica), fileOf(lost))
    const found = await scope.again(lost)
    sqlite3(found, "a.db", "insert into t values(2)")
    expect(idOf(found)).toBe(id)
  },
)

test.skipIf(!canMount)("a primary that has lost its clusterid hears it from a peer", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  const second = await scope.node({ follows: first, flags: ["--candidate"] })
  sqlite3(first, "a.db", "create table t(x); insert into t values(1)")
  await second.logged(/msg="connected to the primary"/)
  const id = idOf(first)
  run([...PROGRAM, "promote", "--url", second.url])
  await becomes(second, "primary")
  await becomes(first, "replica")
  await second.stop("SIGKILL") // otherwise it would hand the role over
  await second.end()
  loseId(second, true)
  const again = await scope.again(second, {
    follows: first,
    flags: ["--candidate", "--peer", first.url],
  })
  expect(again.output).toMatch(
    /the file with the cluster id was gone, made it again after a peer's word/,
  )
  expect(idOf(again)).toBe(id)
  await becomes(again, "primary")
})
