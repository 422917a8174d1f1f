import { describe, expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { mountsAt, parseMountInfo } from "../../src/sys/mount.ts"

describe("parseMountInfo()", () => {
  test("parseMountInfo() reads directory, type, device, and whether others may have it", () => {
    const text = [
      "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
      "98 22 0:44 / /litefs rw,nosuid,nodev shared:5 master:1 - fuse.litefs litefs rw,user_id=0",
      "99 22 0:45 / /x rw - tmpfs tmpfs rw",
      "",
    ].join("\n")
    expect(parseMountInfo(text)).toEqual([
      { directory: "/", type: "ext4", device: "254:0", isShared: true },
      { directory: "/litefs", type: "fuse.litefs", device: "0:44", isShared: true },
      { directory: "/x", type: "tmpfs", device: "0:45", isShared: false },
    ])
  })

  test.each([
    ["a space", "/my\\040data", "/my data"],
    ["a tab and a newline", "/a\\011b\\012c", "/a\tb\nc"],
    ["a backslash", "/a\\134040b", "/a\\040b"],
    ["a hash", "/a\\043b", "/a#b"],
    ["letters beyond ASCII", "/daten/ä☃", "/daten/ä☃"],
  ])("parseMountInfo() reads %s in a path", (_, escaped, plain) => {
    const text = `98 22 0:44 / ${escaped} rw - fuse.litefs litefs rw`
    expect(parseMountInfo(text).map(({ directory }) => directory)).toEqual([plain])
  })

  test.each(["", "garbage", "1 2 3:4 /", "1 2 3:4 / /x rw", " - ext4"])(
    "parseMountInfo() skips the line %p",
    (line) => {
      expect(parseMountInfo(line)).toEqual([])
    },
  )
})

test("mountsAt() finds what is mounted exactly there", () => {
  expect(mountsAt("/proc").map(({ type }) => type)).toContain("proc")
  expect(mountsAt("/proc/self")).toEqual([])
})

test("what a process asks /proc for is not known while it can open no more files, and is no error", () => {
  const source = join(import.meta.dir, "../../src/sys")
  const program = `
    import fs from "node:fs"
    import { mountsIfKnown } from "${source}/mount.ts"
    import { locksIfKnown } from "${source}/locks.ts"
    const known = () => [mountsIfKnown("/") !== undefined, locksIfKnown() !== undefined]
    const before = known()
    try { for (;;) fs.openSync("/dev/null") } catch {}
    const after = known()
    console.log(JSON.stringify([before, after]))
  `
  const ended = spawnSync(
    "sh",
    ["-c", 'ulimit -n 128 && exec "$0" -e "$1"', process.execPath, program],
    { encoding: "utf8" },
  )
  expect([ended.stdout.trim(), ended.stderr]).toEqual(["[[true,true],[false,false]]", ""])
})
