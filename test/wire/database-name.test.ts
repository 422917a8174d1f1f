import { describe, expect, test } from "bun:test"
import { LitefsError } from "../../src/lib/errors.ts"
import { MAX_DATABASE_NAME_SIZE, validateDatabaseName } from "../../src/wire/database-name.ts"

describe("validateDatabaseName", () => {
  test.each([
    "db",
    "my.db",
    ".hidden.db",
    "a b,c",
    "ä€😀",
    "...",
    "-walrus",
    "a.db-mj0123456789", // of another length
    "n".repeat(MAX_DATABASE_NAME_SIZE),
  ])("validateDatabaseName takes %j", (name) => {
    expect(() => validateDatabaseName(name)).not.toThrow()
  })

  test.each([
    ["", "it is empty"],
    ["n".repeat(248), "it has 248 bytes, expected at most 247"],
    ["é".repeat(124), "it has 248 bytes, expected at most 247"],
    ["../evil", 'it contains "/"'],
    ["a\0b", "it contains a zero byte"],
    ["a\ud800", "it is not Unicode text"],
    [".", "it names a directory"],
    ["..", "it names a directory"],
    [".primary", 'names that start with ".primary" are reserved'],
    [".lag", 'names that start with ".lag" are reserved'],
    ["db-journal", 'names that end in "-journal" are reserved'],
    ["db-wal", 'names that end in "-wal" are reserved'],
    ["db-shm", 'names that end in "-shm" are reserved'],
    ["db-pos", 'names that end in "-pos" are reserved'],
    ["a.db-mj0123456AB", "SQLite has such names for super-journals"],
    ["db-lock", 'names that end in "-lock" are reserved'],
  ])("validateDatabaseName refuses %j", (name, problem) => {
    try {
      validateDatabaseName(name)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(LitefsError)
      expect(error).toMatchObject({ code: "name-invalid" })
      expect(String(error)).toEndWith(problem)
    }
  })
})
