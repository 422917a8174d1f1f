/** A node of a user who is not root, mounted with the help of fusermount3. */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import { failureOf, run } from "../support/client.ts"
import { canMount, PROGRAM, Scope } from "../support/node.ts"

const NOBODY = 65534
const IDS = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`]
const AS_NOBODY = ["setpriv", ...IDS, "--clear-groups", "--inh-caps=-all"]

/** Skipped where fusermount3 is not setuid root, or where nobody may not read this program. */
const canMountAsUser =
  canMount &&
  spawnSync("sh", ["-c", 'test -u "$(command -v fusermount3)"']).status === 0 &&
  spawnSync("setpriv", [...AS_NOBODY.slice(1), ...PROGRAM, "version"]).status === 0

/** A directory for nobody's node, and words that run it in a mount namespace of its own. */
function nobody(scope: Scope, deviceMode: string) {
  chmodSync(scope.directory, 0o755)
  const directory = mkdtempSync(join(scope.directory, "node-"))
  mkdirSync(join(directory, "mnt"))
  for (const path of [directory, join(directory, "mnt")]) chownSync(path, NOBODY, NOBODY)
  const script = `set -e; mkdir $0/dev; mount -t tmpfs t $0/dev
    mknod -m ${deviceMode} $0/dev/fuse c 10 229; mount --bind $0/dev/fuse /dev/fuse
    echo $$ > $0/pid; exec "$@"`
  return { directory, through: ["unshare", "-m", "sh", "-c", script, directory, ...AS_NOBODY] }
}

test.skipIf(!canMountAsUser)(
  "a user who is not root mounts with fusermount3 and takes the mount away at the end",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node(nobody(scope, "666"))
    const { directory, mount } = primary
    const pid = (await appeared(join(directory, "pid"), /\d+\n/)).trim()
    const inside = ["nsenter", "-t", pid, "-m"]
    const sql =
      "pragma journal_mode = wal; create table t(x); insert into t values(1); select * from t"
    expect(run([...inside, ...AS_NOBODY, "sqlite3", `${mount}/a.db`, sql])).toBe("wal\n1\n")
    expect(run([...inside, ...AS_NOBODY, "cat", `${mount}/a.db-pos`])).toHaveLength(34)
    expect(failureOf([...inside, "ls", mount])).toContain("Permission denied") // root, even
    expect(readFileSync(`/proc/${pid}/mounts`, "utf8")).toContain(` ${mount} fuse.litefs `)

    // What keeps the namespace after the node tells what the node has left there.
    const log = join(directory, "mounts")
    const watch = `while kill -0 ${pid} 2>/dev/null; do sleep 0.02; done; cat /proc/self/mounts > ${log}; echo end >> ${log}`
    const watcher = spawnSync("nsenter", [
      "-t",
      pid,
      "-m",
      "sh",
      "-c",
      `(${watch}) > /dev/null 2>&1 &`,
    ])
    expect(watcher.status).toBe(0)
    expect(await primary.stop()).toEqual({ code: 0, signal: null })
    expect(await appeared(log, /^end/m)).not.toContain(mount)
  },
  30_000,
)

test.skipIf(!canMountAsUser)("a user who may not open /dev/fuse is told what to do", async () => {
  await using scope = new Scope()
  const node = await scope.spawn(nobody(scope, "600"))
  expect(await node.exited).toEqual({ code: 1, signal: null })
  expect(await node.wholeOutput).toMatch(
    /^ERROR: Cannot mount on ".*mnt": .*\/dev\/fuse: Permission denied, run as root or .*chmod 666 \/dev\/fuse\n$/,
  )
})
