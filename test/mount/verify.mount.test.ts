import { expect, test } from "bun:test"
import { closeSync, openSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { run, sqlite3 } from "../support/client.ts"
import { canMount, Scope } from "../support/node.ts"

const FLAGS = ["--log-level", "debug"]

test.skipIf(!canMount)(
  "a database that was closed in order is looked at after the start, and one that rotted is told of",
  async () => {
    await using scope = new Scope()
    const first = await scope.node()
    for (const name of ["good.db", "bad.db"]) {
      sqlite3(first, name, "create table t(x); insert into t select hex(randomblob(4000));")
    }
    await first.stop()

    const second = await scope.node({ directory: first.directory, flags: FLAGS })
    await second.logged(/msg=verified db=good\.db bytes=\d+/)
    await second.logged(/msg=verified db=bad\.db bytes=\d+/)
    await second.stop()

    rot(join(first.data, "dbs/bad.db/database"))
    const third = await scope.node({ directory: first.directory, flags: FLAGS })
    await third.logged(/a database has changed since it was closed, see litefs doctor" db=bad\.db/)
    await third.logged(/msg=verified db=good\.db/)
    expect(third.output).not.toContain("msg=verified db=bad.db")
  },
  60_000,
)

/** Changes a byte that nobody has written, as a disk does: size and mtime stay, to the nanosecond. */
function rot(path: string): void {
  const times = `${path}.times`
  run(["touch", "-r", path, times])
  const fd = openSync(path, "r+")
  writeSync(fd, Buffer.from("!"), 0, 1, 8000)
  closeSync(fd)
  run(["touch", "-r", times, path])
  rmSync(times)
}
