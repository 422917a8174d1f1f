/**
 * The LTX files of one database: its history, one file for each transaction.
 *
 * The commit log makes a transaction durable, and its file follows without a sync (store/log/commit-log.ts). A
 * transaction that bypasses the log is written under its final name and synced once. The checksum in the trailer tells
 * a whole file from one that a crash tore. One fsync also makes the name of a new file durable: on ext4 the journal
 * commit that carries the inode carries the new directory entry too (ext4 wiki, "fsync on a new file"), xfs logs both
 * in order and forces the log up to the inode's last change, and btrfs logs the names of an inode with it
 * (btrfs_log_inode_parent). POSIX does not promise it; these three do.
 */
import { join } from "node:path"
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
 * nothing.
 */
export class LtxFileWriter {
  readonly #path: string
  readonly #spares: SpareFiles | undefined
  #spare: string | undefined // its path until it gets its name
  #buffer: Region | undefined
  #fd: Fd | undefined
  #buffered = 0
  #written = 0

  /** With `spares` the file gets its name only in finish(), and commit() must not be called. */
  constructor(path: string, spares?: SpareFiles) {
    this.#path = path
    this.#spares = spares
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

  /** The file is durable when this returns. When it throws, the file is gone or is torn and will be set aside. */
  commit(): void {
    assert(this.#spares === undefined, "a file that is to be durable is made under its name")
    this.#flush()
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
    if (this.#spare !== undefined) {
      renameFile("ltx:rename", this.#spare, this.#path)
      this.#spare = undefined
    }
    this.#end()
  }

  /** Gives up: the name is free again. Does not throw, since it runs when something else has failed. */
  discard(): void {
    const exists = this.#fd !== undefined
    this.#end()
    // If the torn file stays, recovery sets it aside, and the next commit writes over it.
    if (exists) discardFile("ltx:discard", this.#spare ?? this.#path)
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
    if (fd !== undefined) this.#spare = spare
    return fd
  }

  #flush(): void {
    assert(this.#buffer !== undefined, "an LTX file is never empty")
    this.#fd ??= this.#openSpare() ?? openFile("ltx:open", this.#path, O_RDWR | O_CREAT | O_TRUNC)
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
