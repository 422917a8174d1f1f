import { describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import {
  decodeDatabaseHeader,
  isWalMode,
  trustedPageCount,
} from "../../src/sqlite/database-header.ts"
import { withByte } from "../support/bytes.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

function header(bytes: Uint8Array) {
  return must(decodeDatabaseHeader(bytes), "database header")
}

describe("decodeDatabaseHeader", () => {
  test.each([512, 4096, 32768, 65536])(
    "decodeDatabaseHeader reads pages of %i bytes",
    (pageSize) => {
      using files = new SqliteFiles(`page_size=${pageSize}`)
      files.run("CREATE TABLE t(x)")
      const bytes = files.read()
      const decoded = header(bytes)
      expect(decoded).toMatchObject({
        pageSize,
        pageCount: bytes.length / pageSize,
        reservedSize: 0,
      })
      expect(isWalMode(decoded)).toBe(false)
      expect(trustedPageCount(decoded)).toBe(decoded.pageCount)
      files.run("CREATE TABLE u(x)")
      expect(header(files.read()).changeCounter).toBe(decoded.changeCounter + 1)
    },
  )

  test("isWalMode is true once SQLite has switched", () => {
    using files = new SqliteFiles("journal_mode=WAL")
    expect(isWalMode(header(files.read()))).toBe(true)
  })

  test("trustedPageCount is undefined where another program may have changed the size", () => {
    using files = new SqliteFiles()
    files.run("CREATE TABLE t(x)")
    expect(trustedPageCount(header(withByte(files.read(), 95, 99)))).toBeUndefined()
    expect(trustedPageCount(header(withByte(files.read(), 31, 0)))).toBeUndefined()
  })

  test.each([
    ["another magic", 0, 0x73],
    ["a page size that is no power of two", 17, 0x10],
    ["a page size of 256", 16, 0x01],
    ["a read version that is not known", 19, 3],
    ["other payload fractions", 21, 65],
  ])("decodeDatabaseHeader refuses %s", (_, offset, value) => {
    using files = new SqliteFiles("page_size=4096")
    files.run("CREATE TABLE t(x)")
    expect(decodeDatabaseHeader(withByte(files.read(), offset, value))).toBeUndefined()
  })

  test("decodeDatabaseHeader refuses pages with less than 480 bytes for use", () => {
    using files = new SqliteFiles("page_size=512")
    files.run("CREATE TABLE t(x)")
    expect(header(withByte(files.read(), 20, 32)).reservedSize).toBe(32)
    expect(decodeDatabaseHeader(withByte(files.read(), 20, 33))).toBeUndefined()
  })

  test("decodeDatabaseHeader refuses fewer than 100 bytes", () => {
    using files = new SqliteFiles()
    files.run("CREATE TABLE t(x)")
    expect(decodeDatabaseHeader(files.read().subarray(0, 99))).toBeUndefined()
    expect(decodeDatabaseHeader(new Uint8Array(0))).toBeUndefined()
  })
})
