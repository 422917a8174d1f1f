/**
 * The peer: a directory passed through fuse-native, the binding to libfuse, as a program of Node would do it. It runs
 * under Node alone, since the binding aborts under Bun.
 *
 *     node pass-through.mjs BACKING MOUNT
 *
 * It prints "mounted" or what is wrong, then for each line on stdin how many requests there were so far. Calls are synchronous, which is
 * faster than the thread pool, but for syncs, which would hold up all others. The kernel keeps the locks.
 */
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"

const [backing, mount] = process.argv.slice(2)
const { default: Fuse } = await import("fuse-native").catch(give)
const at = (path) => join(backing, path)
let requests = 0

/** Answers with what `call` returns, or with its errno. */
function answered(call) {
  return (...args) => {
    requests++
    const answer = args.pop()
    try {
      answer(0, call(...args))
    } catch (error) {
      answer(error.errno ?? Fuse.EIO)
    }
  }
}

const operations = {
  getattr: answered((path) => fs.lstatSync(at(path))),
  fgetattr: answered((_path, fd) => fs.fstatSync(fd)),
  readdir: answered((path) => fs.readdirSync(at(path))),
  open: answered((path, flags) => fs.openSync(at(path), flags)),
  create: answered((path, mode) => fs.openSync(at(path), "w+", mode)),
  truncate: answered((path, size) => fs.truncateSync(at(path), size)),
  ftruncate: answered((_path, fd, size) => fs.ftruncateSync(fd, size)),
  rename: answered((from, to) => fs.renameSync(at(from), at(to))),
  unlink: answered((path) => fs.unlinkSync(at(path))),
  chmod: answered((path, mode) => fs.chmodSync(at(path), mode)),
  chown: answered((path, uid, gid) => fs.chownSync(at(path), uid, gid)),
  flush: answered(() => {}),
  release: answered((_path, fd) => fs.closeSync(fd)),
  read(_path, fd, bytes, size, offset, answer) {
    requests++
    answer(transferred(fs.readSync, fd, bytes, size, offset))
  },
  write(_path, fd, bytes, size, offset, answer) {
    requests++
    answer(transferred(fs.writeSync, fd, bytes, size, offset))
  },
  fsync(_path, isOfData, fd, answer) {
    requests++
    const sync = isOfData ? fs.fdatasync : fs.fsync
    sync(fd, (error) => answer(error?.errno ?? 0))
  },
}

/** Bytes, or an errno. */
function transferred(call, fd, bytes, size, offset) {
  try {
    return call(fd, bytes, 0, size, offset)
  } catch (error) {
    return error.errno ?? Fuse.EIO
  }
}

const fuse = new Fuse(mount, operations, { timeout: false })
fuse.mount((error) => {
  if (error) give(error)
  console.log("mounted")
  createInterface({ input: process.stdin })
    .on("line", () => console.log(requests))
    .on("close", () => {
      spawnSync("umount", ["-l", mount], { stdio: "ignore" })
      process.exit()
    })
})
process.on("SIGINT", () => {}) // its parent ends, too, and with it stdin

function give({ message }) {
  console.log(`Cannot mount: ${message.split("\n")[0]}`)
  process.exit(1)
}
