import { expect, test } from "bun:test"
import { readFileSync, writeFileSync } from "node:fs"
import { writeWholeLtxFile } from "../../src/capture/whole-ltx-file.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const PAGE_SIZE = 4096
const TIMES = 40
const MIB = 1024 * 1024

test("writeWholeLtxFile() needs no more memory for each file", () => {
  using directory = new TemporaryDirectory()
  const path = `${directory.path}/database`
  writeFileSync(path, new Uint8Array(4 * PAGE_SIZE).fill(7))
  const content = new BackedFile("database", path)
  content.open()
  const header = {
    ...{ flags: 0, pageSize: PAGE_SIZE, commit: 4, minTxid: 1n, maxTxid: 1n, timestampMs: 0 },
    ...{ preApplyChecksum: 0n, walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0, nodeId: 0n },
  }
  const write = (number: number) =>
    writeWholeLtxFile(content, `${directory.path}/${number}.ltx`, header)
  write(0)
  const before = mappedSize()
  for (let number = 1; number <= TIMES; number++) write(number)
  expect(mappedSize() - before).toBeLessThan((TIMES / 2) * MIB)
  content.close()
})

/** Bytes that this process has mapped and that are of no file. */
function mappedSize(): number {
  return Number(/^VmData:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024
}
