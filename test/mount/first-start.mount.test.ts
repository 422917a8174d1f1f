/** The first start of a node, whose commit log is prepared beside it and may be there later than the mount. */
import { expect } from "bun:test"
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs"
import { RECORD_MAGIC } from "../../src/store/log/commit-log.ts"
import { SEGMENT_SIZE, segmentPath } from "../../src/store/log/log-segment.ts"
import { sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"

/** Files of the commit log, with their sizes. */
function logFiles({ data }: TestNode): string[] {
  return readdirSync(data)
    .filter((name) => name.startsWith("commit-log"))
    .map((name) => `${name} ${statSync(`${data}/${name}`).size}`)
    .sort()
}

/** Whether transactions were written to the log. */
function isUsed({ data }: TestNode): boolean {
  const head = Buffer.alloc(4)
  const fd = openSync(segmentPath(data, 0), "r")
  readSync(fd, head)
  closeSync(fd)
  return head.readUInt32LE() === RECORD_MAGIC
}

const WHOLE = [0, 1].map((index) => `commit-log.${index} ${SEGMENT_SIZE}`)
const ROWS = "select group_concat(x) from t"

test("a disk without room for the commit log: the node is mounted, says so once, and loses nothing when it is killed", async () => {
  await using scope = new Scope()
  const env = { LITEFS_FAULTS: "0/log:prepare:write#3+=ENOSPC" }
  const node = await scope.node({ env })
  await node.logged(/cannot prepare the commit log, transactions take longer.*no space left/)
  expect(logFiles(node)).toEqual([])
  sqlite3(node, "a.db", "create table t(x); insert into t values (1)")
  sqlite3(node, "a.db", "pragma journal_mode = wal; insert into t values (2)")
  await node.stop("SIGKILL")
  expect(node.output.match(/cannot prepare/g)).toHaveLength(1)

  const again = await scope.node({ directory: node.directory })
  expect(sqlite3(again, "a.db", ROWS)).toBe("1,2")
  expect(logFiles(again)).toEqual(WHOLE)
  sqlite3(again, "a.db", "insert into t values (3)")
  expect(isUsed(again)).toBe(true)
}, 30_000)

test.each([
  ["the first", "write#2"],
  ["the first, when it has its name", "sync-dir#1"],
  ["the second", "write#12"],
])(
  "a node that is killed while it prepares %s segment of its commit log begins anew, and loses nothing",
  async (_, call) => {
    await using scope = new Scope()
    const env = { LITEFS_FAULTS: `0/log:prepare:${call}=kill` }
    const node = await scope.spawn({ env })
    expect((await node.exited).signal).toBe("SIGKILL")

    const again = await scope.node({ directory: node.directory })
    expect(logFiles(again)).toEqual(WHOLE)
    sqlite3(again, "b.db", "create table t(x); insert into t values (1), (2)")
    expect(isUsed(again)).toBe(true)
    await again.stop("SIGKILL")
    const last = await scope.node({ directory: node.directory })
    expect(sqlite3(last, "b.db", ROWS)).toBe("1,2")
  },
  30_000,
)

test("a node that is stopped while it prepares its commit log leaves nothing half prepared", async () => {
  await using scope = new Scope()
  for (let round = 0; round < 5; round++) {
    const node = await scope.spawn({})
    await node.logged(/msg=mounted/)
    expect(await node.stop()).toEqual({ code: 0, signal: null })
    expect(WHOLE).toEqual(expect.arrayContaining(logFiles(node)))
  }
}, 30_000)
