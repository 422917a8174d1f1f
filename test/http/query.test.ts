import { expect, test } from "bun:test"
import { databaseNameOf } from "../../src/http/server/query.ts"

const urlOf = (query: string) => new URL(`http://node/export?${query}`)

test("databaseNameOf() is the name in the query", () => {
  expect(databaseNameOf(urlOf("name=a%20b.db"))).toBe("a b.db")
})

test.each([
  "name=..",
  "name=../app.db",
  "name=..%2Fapp.db",
  "name=%2e%2e%2fapp.db",
  "name=%2Fetc%2Fpasswd",
  "name=a%00b",
  "name=app.db-wal",
  "name=.primary",
  `name=${"x".repeat(251)}`,
])("databaseNameOf() refuses %p", (query) => {
  expect(() => databaseNameOf(urlOf(query))).toThrow("as a database name")
})

test.each(["", "name=", "NAME=app.db"])("databaseNameOf() asks for a name in %p", (query) => {
  expect(() => databaseNameOf(urlOf(query))).toThrow("name required")
})
