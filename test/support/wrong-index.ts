/** A program that leaves a wal-index which is not true: `wrong-index.ts PATH WHAT`, with what as below. */
import { closeSync, openSync, readSync, writeSync } from "node:fs"
import {
  readWalIndexHeader,
  WAL_INDEX_BACKFILL_OFFSET,
  WAL_INDEX_HEAD_SIZE,
  WAL_INDEX_HEADER_SIZE,
  writeWalIndexHeader,
} from "../../src/sqlite/wal-index.ts"

const [path = "", what = ""] = process.argv.slice(2)
const head = new Uint8Array(WAL_INDEX_HEAD_SIZE)
const database = openSync(path.replace(/-shm$/, ""), "r") // only its clients may write there
const fd = openSync(path, "r+")
readSync(fd, head, 0, head.length, 0)
const header = readWalIndexHeader(head)
if (header === undefined) throw new Error("there is no header")
const HEADERS_SIZE = 2 * WAL_INDEX_HEADER_SIZE
writeWalIndexHeader(head, {
  ...header,
  ...(what === "frames" ? { frameCount: header.frameCount + 9 } : {}),
  ...(what === "salts" ? { salt1: header.salt1 + 5 } : {}),
  ...(what === "pages" ? { frameCount: 0, pageCount: 1, salt2: 7 } : {}),
  ...(what === "page count" ? { pageCount: 1 } : {}),
  ...(what === "page size" ? { pageSize: 512 } : {}),
})
if (what === "no header") head.fill(0, 0, HEADERS_SIZE)
if (what === "all copied") head.set(head.subarray(16, 20), WAL_INDEX_BACKFILL_OFFSET)
if (what === "too many copied")
  head.fill(0xff, WAL_INDEX_BACKFILL_OFFSET, WAL_INDEX_BACKFILL_OFFSET + 4)
if (what === "no frames")
  writeSync(fd, new Uint8Array(32768 - head.length), 0, 32768 - head.length, head.length)
writeSync(fd, head, 0, WAL_INDEX_BACKFILL_OFFSET + 4, 0)
closeSync(fd)
closeSync(database)
