import { expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { databasePath, misplacement } from "../../src/cli/node/database-path.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

test("databasePath() takes a word for a name in the mount, and one with a slash for a path", () => {
  expect(databasePath("app.db", "/litefs")).toBe("/litefs/app.db")
  expect(databasePath("./app.db", "/litefs")).toBe("./app.db")
  expect(databasePath("/mnt/app.db", "/litefs")).toBe("/mnt/app.db")
})

test("databasePath() takes a word for the database of the mount that is the current directory", () => {
  using directory = new TemporaryDirectory()
  directory.write("app.db-pos", "")
  const before = process.cwd()
  process.chdir(directory.path)
  try {
    expect(databasePath("app.db", "/litefs")).toBe("/litefs/app.db") // no mount of LiteFS
    directory.write(".lag", "")
    expect(databasePath("app.db", "/litefs")).toBe("app.db")
    expect(databasePath("other.db", "/litefs")).toBe("/litefs/other.db")
  } finally {
    process.chdir(before)
  }
})

test("misplacement() says of a data directory that it is one", () => {
  using directory = new TemporaryDirectory()
  mkdirSync(join(directory.path, "dbs"))
  const why = misplacement("app.db", join(directory.path, "app.db"))
  expect(why).toContain(
    "is a data directory of LiteFS, give where LiteFS is mounted with --fuse-dir",
  )
})
