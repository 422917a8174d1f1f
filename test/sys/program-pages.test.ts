import { expect, test } from "bun:test"
import { cleanMappings } from "../../src/sys/process/program-pages.ts"

function mapping(head: string, anonymousKb: number): string {
  return `${head}\nSize: 64 kB\nRss: 64 kB\nAnonymous:             ${anonymousKb} kB\nVmFlags: rd ex mr\n`
}

test("cleanMappings() takes what is of a file, is never written, and has no page of its own", () => {
  const smaps = [
    mapping("00200000-01a38000 r--p 00000000 fe:00 1234                       /litefs", 0),
    mapping("01a40000-06849000 r-xp 01838000 fe:00 1234                       /litefs", 0),
    mapping("0684a000-06850000 r--p 06641000 fe:00 1234                       /litefs", 4), // relocations
    mapping("06850000-06900000 rw-p 06641000 fe:00 1234                       /litefs", 0),
    mapping("06900000-06a00000 r-xp 00000000 00:00 0", 0), // unpacked by a loader
    mapping("7f0000000000-7f0000010000 rw-s 00000000 fe:00 99                  /dbs/a.db/shm", 0),
    mapping("7f0000020000-7f0000030000 ---p 00000000 fe:00 99                  /lib/libc.so.6", 0),
    mapping("7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                   [vdso]", 0),
  ].join("")
  expect(cleanMappings(smaps)).toEqual([
    { start: 0x200000, size: 0x1838000 },
    { start: 0x1a40000, size: 0x4e09000 },
  ])
})
