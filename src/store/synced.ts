/**
 * How far a database file is known to be on the disk: `dbs/<name>/synced`, 16 hexadecimal digits and a newline, a TXID.
 *
 * Recovery replays the LTX files after it, and retention keeps them. The file is replaced, never changed in place: a
 * crash leaves the old number or the new one. A number that is too low costs time at the next recovery. One that is too
 * high would lose data, so it is raised only after an fsync of the database file.
 */
import { dirname } from "node:path"
import { formatTxid, parseTxid, type Txid } from "../ltx/pos.ts"
import { syncDirectory } from "../sys/directory.ts"
import {
  closing,
  discardFile,
  O_CREAT,
  O_RDWR,
  O_TRUNC,
  openFile,
  readStart,
  renameFile,
  syncFile,
  writeBytesAt,
} from "../sys/file.ts"

/** Of the file, with room for what an editor adds. */
const SIZE_MAX = 64

/** 0 when nothing is known. */
export function readSynced(path: string): Txid {
  const bytes = readStart("synced:read", path, SIZE_MAX)
  return (bytes && parseTxid(new TextDecoder().decode(bytes).trim())) ?? 0n
}

export function writeSynced(path: string, txid: Txid): void {
  replaceFile("synced", path, new TextEncoder().encode(`${formatTxid(txid)}\n`))
}

/** Writes a file that takes the place of the one at `path` once it is whole and durable. */
export function replaceFile(kind: string, path: string, bytes: Uint8Array): void {
  const temporary = `${path}.tmp`
  try {
    writeDurably(kind, temporary, bytes)
    renameFile(`${kind}:rename`, temporary, path)
  } catch (error) {
    discardFile(`${kind}:discard`, temporary) // a disk that is full has better use for the room
    throw error
  }
  syncDirectory(`${kind}:sync-dir`, dirname(path))
}

function writeDurably(kind: string, path: string, bytes: Uint8Array): void {
  using file = closing(openFile(`${kind}:open`, path, O_RDWR | O_CREAT | O_TRUNC))
  writeBytesAt(`${kind}:write`, file.fd, bytes, 0)
  syncFile(`${kind}:fsync`, file.fd)
}
