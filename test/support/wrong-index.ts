/** A program that leaves a valid header in a wal-index which is not true: `wrong-index.ts PATH frames|salts|pages`. */
import { closeSync, openSync, readSync, writeSync } from "node:fs"
import {
  readWalIndexHeader,
  WAL_INDEX_HEAD_SIZE,
  WAL_INDEX_HEADER_SIZE,
  writeWalIndexHeader,
} from "../../src/sqlite/wal-index.ts"

const [path = "", what = ""] = process.argv.slice(2)
const head = new Uint8Array(WAL_INDEX_HEAD_SIZE)
const fd = openSync(path, "r+")
readSync(fd, head, 0, head.length, 0)
const header = readWalIndexHeader(head)
if (header === undefined) throw new Error("there is no header")
writeWalIndexHeader(head, {
  ...header,
  ...(what === "frames" ? { frameCount: header.frameCount + 9 } : {}),
  ...(what === "salts" ? { salt1: header.salt1 + 5 } : {}),
  ...(what === "pages" ? { frameCount: 0, pageCount: 1, salt2: 7 } : {}),
})
writeSync(fd, head, 0, 2 * WAL_INDEX_HEADER_SIZE, 0)
closeSync(fd)
