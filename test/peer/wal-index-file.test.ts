import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { join } from "node:path"
import { WalIndexFile } from "../../src/peer/wal/wal-index-file.ts"
import { WAL_INDEX_HEADER_SIZE, type WalIndexHeader } from "../../src/sqlite/wal-index.ts"
import { WAL_INDEX_BLOCK_SIZE } from "../../src/sqlite/wal-index-block.ts"
import { Errno } from "../../src/sys/errno.ts"
import { setFaults } from "../../src/sys/faults.ts"
import {
  closeFile,
  type Fd,
  O_CREAT,
  O_RDWR,
  openFile,
  truncateFile,
  writeBytesAt,
} from "../../src/sys/file.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

/** As SQLite recovers it from a WAL that is empty. */
const EMPTY: WalIndexHeader = {
  change: 0,
  bigEndianChecksum: false,
  pageSize: 4096,
  frameCount: 0,
  pageCount: 0,
  frameChecksum1: 0,
  frameChecksum2: 0,
  salt1: 0,
  salt2: 0,
}
const CONTENT = { pageSize: 1024, pageCount: 7 }

let directory: TemporaryDirectory
let fd: Fd
let index: WalIndexFile

beforeEach(() => {
  directory = new TemporaryDirectory()
  fd = openFile("mount:open", join(directory.path, "shm"), O_RDWR | O_CREAT)
  index = new WalIndexFile(fd)
})
afterEach(() => {
  closeFile(fd)
  directory[Symbol.dispose]()
})

function tearHeader(): void {
  writeBytesAt("mount:write", fd, new Uint8Array(4).fill(9), WAL_INDEX_HEADER_SIZE)
}

describe("WalIndexFile.restart()", () => {
  test("changes the header, so that clients see that there is other content", () => {
    truncateFile("mount:truncate", fd, WAL_INDEX_BLOCK_SIZE)
    index.writeHeader(EMPTY)
    index.restart(0.5, CONTENT)
    const header = { ...EMPTY, ...CONTENT, change: 1, salt1: 1, salt2: 0x80000000 }
    expect(index.read()?.header).toEqual(header)
  })

  test("that fails anywhere leaves no count of backfilled frames for a log that has started over", () => {
    truncateFile("mount:truncate", fd, WAL_INDEX_BLOCK_SIZE)
    const OLD = { ...EMPTY, ...CONTENT, frameCount: 12 }
    let failures = 0
    for (let isDone = false; !isDone; ) {
      index.writeHeader(OLD)
      index.writeBackfillCount(OLD.frameCount)
      let calls = 0
      setFaults({ check: (op) => (/^mount:/.test(op) && calls++ === failures ? Errno.EIO : 0) })
      try {
        index.restart(0.5)
        isDone = true
      } catch {
        failures += 1
      } finally {
        setFaults(undefined)
      }
      const found = index.read()
      if (found?.header.frameCount === 0) expect(found.backfillCount).toBe(0)
    }
    expect(failures).toBe(4)
  })

  test("makes one that no client knows when an earlier attempt has left half of it", () => {
    truncateFile("mount:truncate", fd, WAL_INDEX_BLOCK_SIZE)
    index.writeHeader(EMPTY)
    tearHeader()
    expect(index.read()).toBeUndefined()
    index.restart(0.5, CONTENT)
    expect(index.read()?.header).toMatchObject({ ...CONTENT, frameCount: 0, change: 0x80000001 })
  })

  test("leaves one that is not valid to who recovers it when the content is the same", () => {
    truncateFile("mount:truncate", fd, WAL_INDEX_BLOCK_SIZE)
    index.writeHeader(EMPTY)
    tearHeader()
    index.restart(0.5)
    expect(index.read()).toBeUndefined()
  })

  test("does nothing when there is none", () => {
    index.restart(0.5, CONTENT)
    expect(index.read()).toBeUndefined()
  })
})
