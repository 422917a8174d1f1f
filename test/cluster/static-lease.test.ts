import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import { StaticLease } from "../../src/cluster/role/static-lease.ts"
import { Errno } from "../../src/sys/errno.ts"
import { setFaults } from "../../src/sys/faults.ts"

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-lease-"))
  path = join(directory, "lease.json")
})
afterEach(() => {
  setFaults(undefined)
  rmSync(directory, { recursive: true })
})

const open = () => new StaticLease(path, () => 0xabn)

function record(epoch: number, id = "1"): LeaseRecord {
  return { epoch, primary: { id: id.padStart(16, "0"), hostname: id, url: `http://n${id}:1` } }
}

function failAt(call: string, from = 1): void {
  let count = 0
  setFaults({
    check: (op) => {
      if (op !== call) return 0
      count += 1
      return count >= from ? Errno.EIO : 0
    },
  })
}

describe("StaticLease", () => {
  test("draws an id once, and knows no primary", () => {
    expect(open()).toMatchObject({ id: "00000000000000AB", record: undefined, unfenced: [] })
    expect(new StaticLease(path, () => 1n).id).toBe("00000000000000AB")
  })

  test("keeps what is newer, over a restart", () => {
    const lease = open()
    lease.keep(record(2), ["http://old:1"])
    lease.keep(record(1, "9"))
    lease.setReached("0000000000000001", "http://proxy:1")
    const again = open()
    expect(again.record).toEqual(record(2))
    expect(again.unfenced).toEqual(["http://old:1"])
    expect(again.reachedAt("0000000000000001")).toBe("http://proxy:1")
    expect(again.reachedAt("0000000000000002")).toBeUndefined()
    again.setFenced("http://old:1")
    expect(open().unfenced).toEqual([])
  })

  test.each(["lease:open", "lease:write", "lease:fsync", "lease:rename"])(
    "goes by the old record when %s fails",
    (call) => {
      const lease = open()
      lease.keep(record(1))
      failAt(call)
      expect(() => lease.keep(record(2))).toThrow()
      expect([lease.record, lease.isUnsure]).toEqual([record(1), false])
      setFaults(undefined)
      expect(open().record).toEqual(record(1))
      expect(readdirSync(directory)).toEqual(["lease.json"])
    },
  )

  test("puts the old record back when only the directory could not be synced", () => {
    const lease = open()
    lease.keep(record(1))
    let count = 0
    setFaults({ check: (op) => (op === "lease:sync-dir" && ++count === 1 ? Errno.EIO : 0) })
    expect(() => lease.keep(record(2))).toThrow()
    expect([lease.record, lease.isUnsure]).toEqual([record(1), false])
    setFaults(undefined)
    expect(open().record).toEqual(record(1))
  })

  test("says so when nobody knows which record a crash would leave", () => {
    const lease = open()
    lease.keep(record(1))
    failAt("lease:sync-dir")
    expect(() => lease.keep(record(2))).toThrow()
    expect([lease.record, lease.isUnsure]).toEqual([record(1), true])
  })

  test("goes by a record that it has heard and cannot keep", () => {
    const lease = open()
    failAt("lease:write")
    expect(lease.learn(record(3))).toBeInstanceOf(Error)
    expect(lease.record).toEqual(record(3))
  })

  test.each(["5", '"x"', "[]", '{"id":1,"url":[]}', '{"id":"0000000000000001","url":"no"}'])(
    "does without an address of %p",
    (reached) => {
      const { epoch, primary } = record(1)
      const json = JSON.stringify({ id: "00000000000000AB", epoch, primary })
      writeFileSync(path, json.replace(/}$/, `,"reached":${reached}}`))
      expect(open().record).toEqual(record(1))
      expect(open().reachedAt("0000000000000001")).toBeUndefined()
    },
  )

  test.each(["", "{", "[]", '{"id":"x"}', '{"id":"0000000000000001","epoch":-1}'])(
    "takes a file of %p for damaged, and leaves it",
    (text) => {
      writeFileSync(path, text)
      expect(open).toThrow(/it is not a lease record/)
      expect(readFileSync(path, "utf8")).toBe(text)
    },
  )
})
