import { describe, expect, test } from "bun:test"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { makeClusterId, readClusterId, writeClusterId } from "../../src/cluster/cluster-id.ts"

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
