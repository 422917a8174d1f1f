import { expect, test } from "bun:test"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { ClusterKey } from "../../src/cluster/role/cluster-key.ts"
import { decodeLease, encodeLease, type HeardLease } from "../../src/cluster/role/lease.ts"
import { LogLines } from "../support/log-lines.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const CLUSTER = "LFSC0000000000000001"
const RECORD = { epoch: 3, primary: { id: "00000000000000AA", hostname: "b", url: "http://b:1" } }
const KEYS = ["a".repeat(64), "b".repeat(64)] as const

function keyAt(path: string, value?: string): ClusterKey {
  const key = new ClusterKey(path)
  key.learn(value)
  return key
}

test("a key is drawn once, kept, and replaced by that of the primary", () => {
  using directory = new TemporaryDirectory()
  const path = join(directory.path, "clusterkey")
  const key = keyAt(path)
  expect(key.value).toBeUndefined()
  key.make((size) => Buffer.alloc(size, 1))
  key.make((size) => Buffer.alloc(size, 2))
  expect(new ClusterKey(path).value).toBe("01".repeat(32))
  for (const text of [undefined, 1, "", "0", KEYS[0].toUpperCase(), `${KEYS[0]}0`]) key.learn(text)
  expect(key.value).toBe("01".repeat(32))
  key.learn(KEYS[0])
  expect(readFileSync(path, "utf8")).toBe(`${KEYS[0]}\n`)
})

test("a key that cannot be read is none, one that cannot be kept counts all the same", () => {
  using log = new LogLines()
  using directory = new TemporaryDirectory()
  const path = join(directory.path, "clusterkey")
  writeFileSync(path, "x")
  expect(new ClusterKey(path).value).toBeUndefined()
  expect(log.text).toContain("the key of the cluster cannot be read")
  const key = keyAt(join(directory.path, "nowhere", "clusterkey"), KEYS[0])
  expect(key.value).toBe(KEYS[0])
  expect(log.text).toContain("cannot keep the key of the cluster")
})

test("a seal holds for the record that it was made for, and for no other", () => {
  using directory = new TemporaryDirectory()
  const [ours, theirs] = KEYS.map((value, i) => keyAt(join(directory.path, String(i)), value))
  const none = keyAt(join(directory.path, "none"))
  const told = encodeLease(RECORD, CLUSTER, ours?.seal(RECORD, CLUSTER))
  const heard = decodeLease(told) as HeardLease
  expect(ours?.hasSealed(heard)).toBe(true)
  expect([theirs?.hasSealed(heard), none.hasSealed(heard)]).toEqual([false, false])
  const { record } = heard
  const { primary } = record
  for (const other of [
    { ...heard, cluster: undefined },
    { ...heard, seal: undefined },
    { ...heard, seal: "" },
    { ...heard, seal: `${heard.seal}00` },
    { ...heard, record: { ...record, epoch: 4 } },
    { ...heard, record: { ...record, primary: { ...primary, id: "00000000000000AB" } } },
    { ...heard, record: { ...record, primary: { ...primary, hostname: "c" } } },
    { ...heard, record: { ...record, primary: { ...primary, url: "http://c:1" } } },
  ]) {
    expect(ours?.hasSealed(other)).toBe(false)
  }
  expect(none.hasSealed({ ...heard, seal: undefined })).toBe(false)
})
