/** A node of a user who is not root, mounted with the help of fusermount3. */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import { failureOf, run } from "../support/client.ts"
import { canMount, PROGRAM, Scope } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"

const NOBODY = 65534
const IDS = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`]
const AS_NOBODY = ["setpriv", ...IDS, "--clear-groups", "--inh-caps=-all"]

/** Skipped where fusermount3 is not setuid root, or where nobody may not read this program. */
const canMountAsUser =
  canMount &&
  spawnSync("sh", ["-c", 'test -u "$(command -v fusermount3)"']).status === 0 &&
  spawnSync("setpriv", [...AS_NOBODY.slice(1), ...PROGRAM, "version"]).status === 0

/** A directory for nobody's node, and words that run it in a mount namespace of its own. */
function nobody(scope: Scope, deviceMode: string, earlier?: string) {
  chmodSync(scope.directory, 0o755)
  const directory = earlier ?? mkdtempSync(join(scope.directory, "node-"))
  if (earlier === undefined) mkdirSync(join(directory, "mnt"))
  for (const path of [directory, join(directory, "mnt")]) chownSync(path, NOBODY, NOBODY)
  const script = `set -e; mkdir $0/dev; mount -t tmpfs t $0/dev
    mknod -m ${deviceMode} $0/dev/fuse c 10 229; mount --bind $0/dev/fuse /dev/fuse
    echo $$ > $0/pid; exec "$@"`
  return { directory, through: ["unshare", "-m", "sh", "-c", script, directory, ...AS_NOBODY] }
}

test.skipIf(!canMountAsUser)(
  "a user who is not root is told why the mount stays where there is no /etc/mtab",
  async () => {
    await using scope = new Scope()
    const { directory, through } = nobody(scope, "666")
    const etc = join(directory, "etc")
    const hide = `set -e; cp -a /etc "$0"; rm -f "$0/mtab"; mount --bind "$0" /etc; exec "$@"`
    const inside = ["unshare", "-m", "sh", "-c", hide, etc]
    const node = await scope.node({ directory, through: [...inside, ...through] })
    expect(await node.stop()).toEqual({ code: 0, signal: null })
    expect(await node.wholeOutput).toMatch(
      /msg="cannot unmount[^"]*" problem="fusermount3: .*mtab.*" advice="ln -s /,
    )
  },
)

test.skipIf(!canMountAsUser)(
  "a user without a name is told what fusermount3 wants, and mounts with a line in /etc/passwd",
  async () => {
    await using scope = new Scope()
    const { directory, through } = nobody(scope, "666")
    const uid = 54321
    const ids = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"]
    const asUser = [...through.slice(0, through.length - AS_NOBODY.length), ...ids]
    run(["chown", "-R", `${uid}:${uid}`, directory])
    const node = await scope.spawn({ directory, through: asUser })
    expect(await node.exited).toEqual({ code: 1, signal: null })
    const line = `app:x:${uid}:${uid}::/:/bin/false`
    expect(await node.wholeOutput).toContain(
      `fusermount3: could not determine username, run as root or give this user a name: echo ${line} >> /etc/passwd\n`,
    )
    const passwd = join(directory, "passwd")
    const script =
      'cat /etc/passwd > "$0"; echo "$1" >> "$0"; mount --bind "$0" /etc/passwd; shift; exec "$@"'
    const named = ["unshare", "-m", "sh", "-c", script, passwd, line]
    run(["rm", "-r", join(directory, "dev"), join(directory, "data")])
    const next = await scope.node({ directory, through: [...named, ...asUser] })
    expect(await next.stop()).toEqual({ code: 0, signal: null })
  },
)

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

    // Modes are kept, and what the owner takes away from himself LiteFS can do all the same.
    const path = `${mount}/a.db`
    const asNobody = (...words: string[]) => run([...inside, ...AS_NOBODY, ...words]).trim()
    expect(asNobody("stat", "-c", "%a %u %g", mount, path)).toBe("755 65534 65534\n644 65534 65534")
    asNobody("chmod", "444", path)
    expect(
      failureOf([...inside, ...AS_NOBODY, "sqlite3", path, "insert into t values(2)"]),
    ).toContain("readonly")
    const copy = join(directory, "copy.db")
    asNobody("sqlite3", copy, "create table t(x); insert into t values(3)")
    asNobody(...PROGRAM, "import", "--url", primary.url, "--name", "a.db", copy)
    expect(asNobody("sqlite3", path, "select x from t")).toBe("3")
    expect(asNobody("stat", "-c", "%a %u %g", path)).toBe("444 65534 65534")
    asNobody("chmod", "000", path)
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

    rmSync(join(directory, "dev"), { recursive: true, force: true })
    const again = await scope.node({ ...nobody(scope, "666", directory), port: primary.port })
    const next = (await appeared(join(directory, "pid"), /\d+\n/)).trim()
    const asOwner = (...words: string[]) =>
      run(["nsenter", "-t", next, "-m", ...AS_NOBODY, ...words])
    expect(asOwner("stat", "-c", "%a", path)).toBe("0\n")
    asOwner("chmod", "600", path)
    expect(asOwner("sqlite3", path, "select x from t; insert into t values(4)")).toBe("3\n")
    expect(await again.stop()).toEqual({ code: 0, signal: null })
  },
  30_000,
)

test.skipIf(!canMountAsUser)("a user who may not open /dev/fuse is told what to do", async () => {
  await using scope = new Scope()
  const node = await scope.spawn(nobody(scope, "600"))
  expect(await node.exited).toEqual({ code: 1, signal: null })
  expect(await node.wholeOutput).toMatch(
    /(^|\n)ERROR: Cannot mount on ".*mnt": .*\/dev\/fuse: Permission denied, run as root or .*chmod 666 \/dev\/fuse\n$/,
  )
})

test.skipIf(!canMountAsUser)(
  "files of another user are refused by name, with their owner, and a database's stop no other",
  async () => {
    await using scope = new Scope()
    const { directory, through } = nobody(scope, "666")
    const node = await scope.node({ directory, through })
    const pid = (await appeared(join(directory, "pid"), /\d+\n/)).trim()
    const inside = (...words: string[]) => run(["nsenter", "-t", pid, "-m", ...AS_NOBODY, ...words])
    for (const name of ["a.db", "b.db", "c.db"]) {
      inside("sqlite3", join(node.mount, name), "create table t(x)")
    }
    expect(await node.stop()).toEqual({ code: 0, signal: null })
    const again = () => {
      rmSync(join(directory, "dev"), { recursive: true, force: true })
      rmSync(join(directory, "pid"), { force: true })
      return { ...nobody(scope, "666", directory), port: node.port }
    }

    chownSync(join(node.data, "lease.json"), 0, 0)
    const refused = await scope.spawn(again())
    expect(await refused.exited).toEqual({ code: 1, signal: null })
    const path = join(node.data, "lease.json")
    expect(await refused.wholeOutput).toBe(
      `ERROR: Cannot open "${path}": permission denied (EACCES), "${path}" belongs to root, ` +
        `not to this user (uid ${NOBODY}), as root: chown -R ${NOBODY} ${node.data}\n`,
    )

    chownSync(path, NOBODY, NOBODY)
    chownSync(join(node.data, "dbs/a.db/database"), 0, 0)
    chownSync(join(node.data, "dbs/b.db"), 0, 0)
    const next = await scope.node(again())
    expect(next.output).toMatch(/db=a\.db error=.*\/database\\" belongs to root, not to this user/)
    expect(next.output).toMatch(/db=b\.db error=.*\/b\.db\\" belongs to root, not to this user/)
    const { databases } = await infoOf(next)
    expect(databases.filter(({ problem }) => problem !== undefined)).toHaveLength(2)
    expect(databases.find(({ name }) => name === "c.db")?.problem).toBeUndefined()
    expect(await next.stop()).toEqual({ code: 0, signal: null })
  },
  30_000,
)
