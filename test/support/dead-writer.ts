/**
 * A writer that dies between the sync of its commit and the wal-index: commits a change of page 2 to the WAL of a
 * mounted database, in which it replaces one text by another of the same length, and kills itself.
 *
 *   bun dead-writer.ts PATH-OF-DATABASE OLD NEW
 */
import { WAL_DMS_LOCK, WAL_READ_LOCK_0, WAL_WRITE_LOCK } from "../../src/sqlite/lock-bytes.ts"
import {
  decodeWalHeader,
  encodeWalFrame,
  WalChecksum,
  walFrameOffset,
  walFrameSize,
} from "../../src/sqlite/wal.ts"
import { readWalIndexHeader } from "../../src/sqlite/wal-index.ts"
import { O_RDWR, openFile, readBytesAt, syncData, writeBytesAt } from "../../src/sys/file.ts"
import { tryLock } from "../../src/sys/locks.ts"

const [path, before, after] = process.argv.slice(2) as [string, string, string]
openFile("test", path, O_RDWR) // as every client: nobody else may open the WAL of those who pass
const wal = openFile("test", `${path}-wal`, O_RDWR)
const shm = openFile("test", `${path}-shm`, O_RDWR)
for (const lock of [WAL_DMS_LOCK, WAL_READ_LOCK_0 + 1]) tryLock(shm, "shared", lock, 1)
if (!tryLock(shm, "exclusive", WAL_WRITE_LOCK, 1)) throw new Error("somebody else writes")

const index = new Uint8Array(96)
readBytesAt("test", shm, index, 0)
const header = readWalIndexHeader(index)
const head = new Uint8Array(32)
readBytesAt("test", wal, head, 0)
const walHeader = decodeWalHeader(head)
if (header === undefined || walHeader === undefined) throw new Error("no wal-index")

const { pageSize, frameCount } = header
const page = new Uint8Array(pageSize)
for (let index = frameCount - 1; index >= 0; index--) {
  const frame = new Uint8Array(walFrameSize(pageSize))
  readBytesAt("test", wal, frame, walFrameOffset(index, pageSize))
  if (new DataView(frame.buffer).getUint32(0) !== 2) continue
  page.set(frame.subarray(24))
  break
}
const at = Buffer.from(page).indexOf(before)
if (at < 0) throw new Error(`page 2 does not hold ${before}`)
page.set(Buffer.from(after), at)
const frame = new Uint8Array(walFrameSize(pageSize))
const checksum = new WalChecksum().set(header.frameChecksum1, header.frameChecksum2)
encodeWalFrame(frame, 0, walHeader, checksum, { pgno: 2, commit: header.pageCount }, page)
const offset = walFrameOffset(frameCount, pageSize)
writeBytesAt("test", wal, frame.subarray(0, 24), offset)
writeBytesAt("test", wal, frame.subarray(24), offset + 24)
syncData("test", wal)
process.kill(process.pid, "SIGKILL")
