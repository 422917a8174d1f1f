import { afterEach, beforeEach, expect, test } from "bun:test"
import { execFileSync } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { copyFile } from "../../src/sys/file.ts"

let directory: string
const at = (name: string) => join(directory, name)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-copy-"))
  writeFileSync(at("file"), "content")
  chmodSync(at("file"), 0o640)
  execFileSync("mkfifo", [at("pipe")])
  mkdirSync(at("directory"))
})
afterEach(() => rmSync(directory, { recursive: true }))

test("copyFile() copies content and permissions, over what is there", () => {
  writeFileSync(at("copy"), "longer than that")
  for (const to of ["copy", "new"]) {
    copyFile("test:copy", at("file"), at(to))
    expect(readFileSync(at(to), "utf8")).toBe("content")
  }
  expect(statSync(at("new")).mode & 0o777).toBe(0o640)
})

test.each([
  ["pipe", "new", "pipe", "a named pipe"],
  ["directory", "new", "directory", "a directory"],
  ["file", "pipe", "pipe", "a named pipe"],
  ["file", "directory", "directory", "a directory"],
])("copyFile() of %s to %s waits for nothing, and refuses", (from, to, wrong, kind) => {
  const problem = `Cannot open "${at(wrong)}": it is ${kind}, it should be a file`
  expect(() => copyFile("test:copy", at(from), at(to))).toThrow(problem)
})
