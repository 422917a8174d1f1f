import { describe, expect, test } from "bun:test"
import { type Finding, findings } from "../../src/http/page/findings.ts"
import { StatusNode } from "../support/status-node.ts"

function found(node: StatusNode, given: { lagMs?: number | null; divergedCount?: number } = {}) {
  const { status } = node.api
  const context = { status, lagMs: 0, nodes: [], databases: [...status.databases()] }
  return findings({ ...context, divergedCount: 0, ...given })
}

/** Level and text, then cause, then what to run. */
function inWords({ level, text, cause, steps = [] }: Finding): string {
  const rest = [cause, ...steps.map(({ command }) => `$ ${command}`)]
  return [`${level}: ${text}`, ...rest.filter(Boolean)].join(" | ")
}

describe("findings()", () => {
  test("finds nothing when all is well", async () => {
    await using node = await StatusNode.start()
    node.commit("a.db", 1)
    node.api.status.markReady()
    expect(found(node)).toEqual([])
  })

  test("has the worst first", async () => {
    await using node = await StatusNode.start()
    const { problems } = node.api.status
    problems.begin("disk", "the disk of the data directory is full, 0 B are free")
    node.remarked.set("left.db", { isArriving: false, problem: "a page is damaged" })
    expect(found(node, { divergedCount: 2 }).map(inWords)).toEqual([
      "bad: The disk is full: transactions are refused, or wait until there is room | the disk of the data directory is full, 0 B are free | $ df -h /data",
      'bad: 1 database is left out: "left.db" | a page is damaged | $ litefs doctor --data-dir /data',
      "wait: This node is starting",
      "note: This node has kept 2 histories that the primary does not have | $ litefs diverged list --data-dir /data",
    ])
  })

  test("tells of a node that takes this one for the primary of another cluster", async () => {
    await using node = await StatusNode.start()
    node.api.status.markReady()
    node.api.status.problems.begin("cluster", "b is in cluster X: Then b has the data")
    expect(found(node).map(inWords)).toEqual([
      "bad: A node of another cluster takes this one for its primary, and gets nothing | b is in cluster X: Then b has the data | $ litefs promote --force",
    ])
  })

  test("tells why a replica is not connected, or behind, and what is on its way", async () => {
    await using node = await StatusNode.start("replica")
    const { status } = node.api
    expect(found(node).map(inWords)).toEqual(["wait: This replica is looking for its primary"])
    status.problems.begin("primary", "not connected to the primary: it does not answer")
    status.markReady()
    expect(found(node).map(inWords)).toEqual([
      "bad: This replica is not connected to its primary | it does not answer | $ litefs info --url http://zero:20202 | $ litefs promote --force",
    ])
    status.problems.begin("primary", "cannot take what the primary sends: no")
    expect(found(node).map(inWords)).toEqual([
      "bad: This replica cannot take what its primary sends | cannot take what the primary sends: no | $ litefs info --url http://zero:20202",
    ])
    status.problems.end("primary")
    node.api.setPrimaryName("zero")
    for (const name of ["1.db", "2.db", "3.db", "4.db"]) {
      node.remarked.set(name, { isArriving: true })
    }
    status.problems.begin("readers", 'waiting for readers of "a.db": process 77 (sh)')
    expect(found(node, { lagMs: 34_400 }).map(inWords)).toEqual([
      'warn: This replica is 34s behind its primary | waiting for readers of "a.db": process 77 (sh)',
      'warn: Replication waits for a program on this machine that reads a database | waiting for readers of "a.db": process 77 (sh) | $ ps -fp 77',
      'wait: 4 databases are on the way here: "1.db", "2.db", "3.db", …',
    ])
    node.remarked.clear()
    node.remarked.set("a.db", {
      isArriving: false,
      problem: "the primary has refused it, see its log",
    })
    expect(found(node).map(inWords)[0]).toBe(
      'bad: 1 database is left out: "a.db" | the primary has refused it, see its log | $ litefs info --url http://zero:20202',
    )
  })
})
