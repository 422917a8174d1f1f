/**
 * A process that makes fcntl(2) locks on one file, as it is told in JSON lines over stdin: see lock-client.ts.
 *
 *   bun lock-program.ts FILE
 */
import { createInterface } from "node:readline"
import { errnoName } from "../../src/sys/errno.ts"
import { closeFile, O_RDWR, openFile } from "../../src/sys/file.ts"
import { errno, libc } from "../../src/sys/libc.ts"
import { allocate } from "../../src/sys/memory.ts"
import type { FoundLock, LockCall } from "./lock-client.ts"

const COMMANDS = {
  posix: { get: 5, set: 6, wait: 7 }, // F_GETLK, F_SETLK, F_SETLKW
  ofd: { get: 36, set: 37, wait: 38 }, // F_OFD_…
} as const
const TYPES = ["shared", "exclusive", "unlock"] as const // F_RDLCK, F_WRLCK, F_UNLCK

const path = process.argv[2] as string
const fd = openFile("test", path, O_RDWR)
const { address, bytes } = allocate(4096)
const flock = new DataView(bytes.buffer, bytes.byteOffset, 32)

function lock({ owner, command, type, start, length }: LockCall): string | FoundLock {
  flock.setInt16(0, TYPES.indexOf(type), true)
  flock.setInt16(2, 0, true) // SEEK_SET
  flock.setBigInt64(8, BigInt(start), true)
  flock.setBigInt64(16, BigInt(length), true)
  flock.setInt32(24, 0, true)
  const failed = libc.fcntl(fd, COMMANDS[owner][command], address) < 0
  const error = failed ? errno() : 0
  if (error !== 0) return errnoName(error)
  if (command !== "get") return "ok"
  const found = TYPES[flock.getInt16(0, true)]
  if (found === undefined || found === "unlock") return "free"
  const [from, size] = [flock.getBigInt64(8, true), flock.getBigInt64(16, true)]
  return { type: found, start: `${from}`, length: `${size}`, pid: flock.getInt32(24, true) }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call } = JSON.parse(line)
  if (call === "reopen") closeFile(openFile("test", path, O_RDWR))
  console.log(JSON.stringify(call === "reopen" ? "ok" : lock(call)))
}
