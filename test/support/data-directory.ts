/** A data directory as a node leaves it, made by SQLite and our LTX encoder. Removed when disposed. */
import { createHash } from "node:crypto"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { EMPTY_CHECKSUM, pageChecksum } from "../../src/ltx/checksum.ts"
import { formatLtxFileName } from "../../src/ltx/file-name.ts"
import { LTX_FLAG_COMPRESSED } from "../../src/ltx/header.ts"
import { type LtxPage, ltxFile } from "./ltx-file.ts"
import { SqliteFiles } from "./sqlite-files.ts"

export const FIXTURE_PAGE_SIZE = 512

export class DataDirectory implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "litefs-data-"))
  readonly #databases: DatabaseFixture[] = []

  constructor() {
    mkdirSync(join(this.root, "dbs"))
  }

  /** Names below the root with what they hold, but for the lock. */
  get content(): Map<string, string> {
    const names = readdirSync(this.root, { recursive: true, withFileTypes: true })
    return new Map(
      names
        .filter((entry) => entry.isFile() && entry.name !== "lock")
        .map((entry) => join(entry.parentPath, entry.name))
        .map((path): [string, string] => [
          path.slice(this.root.length + 1),
          readFileSync(path, "hex"),
        ])
        .sort(),
    )
  }

  /** A database with `count` transactions, each with its LTX file, and as SQLite has left its files. */
  database(name = "app.db", count = 4, mode: "delete" | "wal" = "delete"): DatabaseFixture {
    const database = new DatabaseFixture(join(this.root, "dbs", name), mode)
    this.#databases.push(database)
    for (let index = 1; index <= count; index++) database.commit(insertion(index))
    database.save()
    return database
  }

  [Symbol.dispose](): void {
    for (const database of this.#databases) database[Symbol.dispose]()
    rmSync(this.root, { recursive: true })
  }
}

/** The same each time, and hard to compress, so that LTX files have a size. */
function insertion(index: number): string {
  const create = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a TEXT);"
  const text = Array.from({ length: 7 }, (_, part) => {
    return createHash("sha256").update(`${index} ${part}`).digest("hex")
  })
  return `${index === 1 ? create : ""} INSERT INTO t(a) VALUES('${text.join("")}')`
}

export class DatabaseFixture implements Disposable {
  readonly directory: string
  readonly sqlite: SqliteFiles
  txid = 0n
  #image: Uint8Array = new Uint8Array(0)
  #checksum = 0n

  constructor(directory: string, mode: "delete" | "wal") {
    this.directory = directory
    mkdirSync(join(directory, "ltx"), { recursive: true })
    const page = `page_size=${FIXTURE_PAGE_SIZE}`
    this.sqlite = new SqliteFiles(page, `journal_mode=${mode}`, "wal_autocheckpoint=0")
  }

  path(...names: string[]): string {
    return join(this.directory, ...names)
  }

  ltxPath(txid: number): string {
    return this.path("ltx", formatLtxFileName(BigInt(txid), BigInt(txid)))
  }

  /** A transaction and its LTX file. */
  commit(sql: string): void {
    this.sqlite.database.run(`BEGIN; ${sql}; COMMIT`)
    this.capture()
  }

  /** Makes the LTX file of what has changed since the last one. */
  capture(image: Uint8Array = this.sqlite.database.serialize()): void {
    const pages = changedPages(this.#image, image)
    const checksum = checksumOf(image)
    this.txid += 1n
    const header = {
      flags: LTX_FLAG_COMPRESSED,
      minTxid: this.txid,
      maxTxid: this.txid,
      pageSize: FIXTURE_PAGE_SIZE,
      commit: image.length / FIXTURE_PAGE_SIZE,
      preApplyChecksum: this.#checksum,
    }
    const bytes = ltxFile({ header, pages, postApplyChecksum: checksum })
    writeFileSync(this.ltxPath(Number(this.txid)), bytes)
    this.#image = image.slice()
    this.#checksum = checksum
  }

  /** Puts SQLite's files as they are now into the data directory. */
  save(): void {
    writeFileSync(this.path("database"), this.sqlite.read())
    for (const [suffix, name] of [
      ["-wal", "wal"],
      ["-journal", "journal"],
    ] as const) {
      if (existsSync(this.sqlite.path + suffix)) {
        writeFileSync(this.path(name), this.sqlite.read(suffix))
      }
    }
  }

  read(...names: string[]): Uint8Array<ArrayBuffer> {
    return new Uint8Array(readFileSync(this.path(...names)))
  }

  /** Turns over every bit of one byte. */
  flip(offset: number, ...names: string[]): void {
    const bytes = this.read(...names)
    bytes[offset] = (bytes[offset] as number) ^ 0xff
    writeFileSync(this.path(...names), bytes)
  }

  append(text: string, ...names: string[]): void {
    appendFileSync(this.path(...names), text)
  }

  [Symbol.dispose](): void {
    this.sqlite[Symbol.dispose]()
  }
}

function pageOf(image: Uint8Array, pgno: number): Uint8Array {
  return image.subarray((pgno - 1) * FIXTURE_PAGE_SIZE, pgno * FIXTURE_PAGE_SIZE)
}

function changedPages(before: Uint8Array, after: Uint8Array): LtxPage[] {
  const pages: LtxPage[] = []
  for (let pgno = 1; pgno <= after.length / FIXTURE_PAGE_SIZE; pgno++) {
    const data = pageOf(after, pgno)
    if (Buffer.compare(data, pageOf(before, pgno)) !== 0) pages.push({ pgno, data })
  }
  return pages
}

function checksumOf(image: Uint8Array): bigint {
  let checksum = 0n
  for (let pgno = 1; pgno <= image.length / FIXTURE_PAGE_SIZE; pgno++) {
    checksum ^= pageChecksum(pgno, pageOf(image, pgno))
  }
  return checksum | EMPTY_CHECKSUM
}
