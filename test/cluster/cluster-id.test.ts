import { describe, expect, test } from "bun:test"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  ClusterId,
  makeClusterId,
  readClusterId,
  writeClusterId,
} from "../../src/cluster/role/cluster-id.ts"

function withFile(act: (path: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "litefs-cluster-"))
  try {
    act(join(directory, "clusterid"))
  } finally {
    rmSync(directory, { recursive: true })
  }
}

describe("readClusterId()", () => {
  test("readClusterId() reads what writeClusterId() has written", () => {
    withFile((path) => {
      expect(readClusterId(path)).toBeUndefined()
      const id = makeClusterId(() => 0xabcn)
      expect(id).toBe("LFSC0000000000000ABC")
      writeClusterId(path, id)
      expect(readFileSync(path, "utf8")).toBe(`${id}\n`)
      expect(readClusterId(path)).toBe(id)
    })
  })

  test.each(["", "LFSC", "LFSC0000000000000abc", "x LFSC0000000000000ABC"])(
    "readClusterId() refuses a file with %p",
    (text) => {
      withFile((path) => {
        writeFileSync(path, text)
        expect(() => readClusterId(path)).toThrow(/it holds no cluster id/)
      })
    },
  )

  test("writeClusterId() refuses what is no cluster id", () => {
    withFile((path) => {
      expect(() => writeClusterId(path, "LFSC1")).toThrow(/LFSC and 16 hex digits expected/)
      expect(readClusterId(path)).toBeUndefined()
    })
  })
})

const NOTHING = { copy: undefined, hasRecord: false, hasKey: false, hasDatabases: false }

describe("ClusterId", () => {
  test("a primary that has lost its id takes the copy, and without one makes no other", () => {
    withFile((path) => {
      for (const past of [{ hasRecord: true }, { hasKey: true }]) {
        const id = new ClusterId(path)
        expect(() => id.ensure({ ...NOTHING, ...past }, () => 1n)).toThrow(
          /^Cannot be the primary: there is no ".*clusterid", but this node has been in a cluster, .*; copy the file clusterid from/,
        )
        expect(readClusterId(path)).toBeUndefined()
      }
      const id = new ClusterId(path)
      id.ensure({ ...NOTHING, hasRecord: true, copy: "LFSC0000000000000007" }, () => 1n)
      expect(readClusterId(path)).toBe("LFSC0000000000000007")
    })
  })

  test("a primary makes one, once, and keeps it", () => {
    withFile((path) => {
      const first = new ClusterId(path)
      expect(first.value).toBeUndefined()
      first.ensure(NOTHING, () => 1n)
      first.ensure(NOTHING, () => 2n)
      const later = new ClusterId(path)
      later.ensure(NOTHING, () => 3n)
      expect([first.value, later.value]).toEqual(["LFSC0000000000000001", "LFSC0000000000000001"])
    })
  })

  test("a replica takes over that of its first primary, and refuses another", () => {
    withFile((path) => {
      const id = new ClusterId(path)
      id.check("LFSC0000000000000007")
      id.check("LFSC0000000000000007")
      expect(() => id.check("LFSC0000000000000008")).toThrow(
        "it belongs to cluster LFSC0000000000000008, this node to LFSC0000000000000007",
      )
      expect(new ClusterId(path).value).toBe("LFSC0000000000000007")
      expect(() => new ClusterId(`${path}-none`).check("nonsense")).toThrow(
        "LFSC and 16 hex digits",
      )
    })
  })
})
