/** Databases that were dropped long ago: nobody has to know of them, and still nobody misses the drop. */
import { expect } from "bun:test"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, pos, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import type { TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { until } from "../support/until.ts"

const SOON = ["--retention", "1s", "--retention-interval", "300ms"]
const CREATE = "create table t(x); insert into t values(1)"

const known = async ({ url }: TestNode) => {
  const { databases } = (await (await fetch(`${url}/info`)).json()) as { databases: object[] }
  return (
    JSON.stringify(databases)
      .match(/[a-z]+\.db/g)
      ?.filter((name, i, all) => all.indexOf(name) === i) ?? []
  )
}

async function untilKnown(node: TestNode, names: readonly string[]): Promise<void> {
  await until(`only ${names} is known`, async () => (await known(node)).join() === names.join())
}

test("a database that was dropped gives its slot back after the retention, and late replicas hear of it", async () => {
  await using scope = await pair({ flags: SOON })
  const { primary, replica } = scope
  const late = await scope.node({ follows: primary, flags: SOON })
  for (const name of ["live.db", "gone.db"]) sqlite3(primary, name, CREATE)
  for (let i = 0; i < 3; i++) sqlite3(primary, "gone.db", `insert into t values(${i})`)
  for (const node of [replica, late]) {
    for (const name of ["live.db", "gone.db"]) await caughtUp(primary, node, name)
  }
  const before = pos(primary, "gone.db")
  await late.stop()
  run(["rm", join(primary.mount, "gone.db")])
  for (const node of [primary, replica]) await untilKnown(node, ["live.db"])
  expect(readdirSync(join(primary.data, "dbs/gone.db/ltx"))).toHaveLength(1)

  // What it was while it was away; it hears of the drop, and forgets it in turn.
  const back = await scope.again(late, { follows: primary, flags: SOON })
  await until("it is gone", () => !run(["ls", back.mount]).includes("gone.db"))
  await untilKnown(back, ["live.db"])
  expect(run(["ls", back.mount])).not.toContain("gone.db")
  expect(back.output).not.toContain("does not have a database that is here")
  expect(readdirSync(back.data)).not.toContain("diverged")

  // The name goes on with its history, for all of them, also after a restart.
  await primary.stop()
  const again = await scope.again(primary, { flags: SOON })
  expect(await known(again)).toEqual(["live.db"])
  sqlite3(again, "gone.db", "create table new(x); insert into new values(7)")
  const txid = (text: string) => BigInt(`0x${text.slice(0, 16)}`)
  expect(txid(pos(again, "gone.db"))).toBeGreaterThan(txid(before))
  for (const node of [replica, back]) {
    await expectSame(again, node, "gone.db")
    expect(sqlite3(node, "gone.db", "select x from new")).toBe("7")
    expect(readdirSync(node.data)).not.toContain("diverged")
  }
}, 90_000)
