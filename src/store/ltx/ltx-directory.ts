/**
 * The LTX files of one database: its history, one file for each transaction.
 *
 * The commit log makes a transaction durable, and its file follows without a sync (store/log/commit-log.ts). A
 * transaction that bypasses the log is synced once, when its file has its name. A file gets its name when it is whole:
 * only a power cut tears it then, and the checksum in the trailer tells. One fsync also makes the name of a new file
 * durable: on ext4 the journal commit that carries the inode carries the new directory entry too (ext4 wiki, "fsync on
 * a new file"; a rename changes the inode, its ctime), xfs logs both in order and forces the log up to the inode's last
 * change, and btrfs logs the names of an inode with it (btrfs_log_inode_parent). POSIX does not promise it; these three
 * do.
 */
import { basename, join } from "node:path"
import { assert } from "../../lib/assert.ts"
import type { Turns } from "../../lib/turns.ts"
import { formatLtxFileName, parseLtxFileName } from "../../ltx/file-name.ts"
import type { Txid } from "../../ltx/pos.ts"
import { listDirectory, listNames } from "../../sys/directory.ts"
import {
  closeFile,
  discardFile,
  type Fd,
  O_CREAT,
  O_RDWR,
  O_TRUNC,
  openFile,
  openIfExists,
  renameFile,
  syncData,
  syncFile,
  writeAt,
} from "../../sys/file.ts"
import { allocate, type Region } from "../../sys/memory.ts"
import type { SpareFiles } from "../spare-files.ts"

export interface LtxFileInfo {
  readonly name: string
  readonly path: string
  readonly minTxid: Txid
  readonly maxTxid: Txid
}

function byTxid(a: LtxFileInfo, b: LtxFileInfo): number {
  return Number(a.maxTxid - b.maxTxid) || Number(a.minTxid - b.minTxid)
}

export class LtxDirectory {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  filePath(minTxid: Txid, maxTxid: Txid): string {
    return join(this.path, formatLtxFileName(minTxid, maxTxid))
  }

  /** Ascending by TXID. Files with other names are not ours and stay. */
  list(): LtxFileInfo[] {
    return listDirectory("ltx:list", this.path)
      .flatMap(({ name }) => this.#infoOf(name))
      .sort(byTxid)
  }

  /** As list(), for a thread that others wait for: ten minutes of transactions may have left a file each. */
  async listInTurns(turns: Turns): Promise<LtxFileInfo[]> {
    const files: LtxFileInfo[] = []
    for (const name of await listNames("ltx:list", this.path)) {
      files.push(...this.#infoOf(name))
      if (turns.isOver) await turns.next()
    }
    return files.sort(byTxid)
  }

  #infoOf(name: string): LtxFileInfo[] {
    const range = parseLtxFileName(name)
    return range === undefined ? [] : [{ name, path: join(this.path, name), ...range }]
  }

  last(): LtxFileInfo | undefined {
    return this.list().at(-1)
  }
}

const BUFFER_SIZE = 256 * 1024

/** Behind the name of a file until it is whole. The next start removes what a crash leaves (diverged/takeover.ts). */
const MAKING = ".making"

/** Buffers that no writer uses. A node has a few writers at a time: one per thread, and large incoming files. */
const pool: Region[] = []

/**
 * Writes one LTX file, from the chunks that an encoder emits.
 *
 *   open ──append()…──▶ open ──commit()──▶ durable
 *     │                   └────finish()──▶ whole, and durable elsewhere: in the commit log
 *     └──────────────discard()───────────▶ gone
 *
 * The file is made when the first buffer is full, or at commit(): a transaction that turns out to be empty costs
 * nothing. A name in the log is given to it when all is written. Any other name is temporary itself, and stays.
 */
export class LtxFileWriter {
  readonly #path: string
  readonly #spares: SpareFiles | undefined
  #place: string // where it is now
  #isSpare = false
  #buffer: Region | undefined
  #fd: Fd | undefined
  #buffered = 0
  #written = 0

  /** With `spares` the file may be made of one of them. */
  constructor(path: string, spares?: SpareFiles) {
    this.#path = path
    this.#spares = spares
    this.#place = parseLtxFileName(basename(path)) === undefined ? path : `${path}${MAKING}`
  }

  /** The file's size so far. */
  get size(): number {
    return this.#written + this.#buffered
  }

  readonly append = (bytes: Uint8Array): void => {
    this.#buffer ??= pool.pop() ?? allocate(BUFFER_SIZE)
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + BUFFER_SIZE - this.#buffered)
      this.#buffer.bytes.set(part, this.#buffered)
      this.#buffered += part.length
      done += part.length
      if (this.#buffered === BUFFER_SIZE) this.#flush()
    }
  }

  /** The file is durable when this returns. When it throws, it is to be discarded. */
  commit(): void {
    this.#flush()
    this.#name()
    syncFile("ltx:fsync", this.#fd as Fd)
    this.#end()
  }

  /** Makes what has gone to the file so far durable. The last sync of a large file then has little to do. */
  sync(): void {
    if (this.#fd !== undefined) syncData("ltx:fdatasync", this.#fd)
  }

  /** The file is whole, but a power cut may still tear it. */
  finish(): void {
    this.#flush()
    this.#name()
    this.#end()
  }

  /** Gives up: the name is free again. Does not throw, since it runs when something else has failed. */
  discard(): void {
    const exists = this.#fd !== undefined
    this.#end()
    // If a part of it stays, the next file of this name writes over it.
    if (exists) discardFile("ltx:discard", this.#place)
  }

  #name(): void {
    if (this.#place === this.#path) return
    renameFile(this.#isSpare ? "ltx:rename-spare" : "ltx:rename", this.#place, this.#path)
    this.#isSpare = false
    this.#place = this.#path
  }

  #end(): void {
    if (this.#fd !== undefined) closeFile(this.#fd)
    if (this.#buffer !== undefined) pool.push(this.#buffer)
    this.#fd = undefined
    this.#buffer = undefined
  }

  #openSpare(): Fd | undefined {
    const spare = this.#spares?.take()
    if (spare === undefined) return undefined
    const fd = openIfExists("ltx:open-spare", spare, O_RDWR)
    if (fd === undefined) return undefined
    this.#place = spare
    this.#isSpare = true
    return fd
  }

  #flush(): void {
    assert(this.#buffer !== undefined, "an LTX file is never empty")
    this.#fd ??= this.#openSpare() ?? openFile("ltx:open", this.#place, O_RDWR | O_CREAT | O_TRUNC)
    writeAt("ltx:write", this.#fd, this.#buffer.address, this.#buffered, this.#written)
    this.#written += this.#buffered
    this.#buffered = 0
  }
}

/** Moves a file out of the way under a name that says why, and returns that name. Never overwrites. */
export function setAside(path: string, why: string, nowMs: number): string {
  const to = `${path}.${why}-${nowMs}`
  renameFile("ltx:set-aside", path, to)
  return to
}
