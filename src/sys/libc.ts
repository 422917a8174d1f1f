/**
 * libc through bun:ffi: a table of symbols and the errno of this thread. Nothing outside `sys/` imports this.
 *
 * - Each thread has its own instance, since errno is per thread.
 * - `errno()` is only right in the expression that directly follows the failing call.
 * - A missing i32 argument is silently 0, so wrappers never pass a descriptor they have not checked.
 * - musl also answers to "libc.so.6": it maps every `libc.*` name to itself.
 */
import { dlopen, type FFIFunction, FFIType, type Pointer, toArrayBuffer } from "bun:ffi"
import { must } from "../lib/assert.ts"

const LIBC = "libc.so.6"
const i64 = FFIType.i64_fast

/** As in the manual pages, section 2 and 3. An address is a plain number, and a file offset or size fits one. */
const SIGNATURES = {
  __errno_location: { args: [], returns: "ptr" },
  open: { args: ["ptr" /* path */, "i32" /* flags */, "i32" /* mode */], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  read: { args: ["i32", "ptr", "u64"], returns: i64 },
  write: { args: ["i32", "ptr", "u64"], returns: i64 },
  pread: { args: ["i32", "ptr", "u64", i64], returns: i64 },
  pwrite: { args: ["i32", "ptr", "u64", i64], returns: i64 },
  fsync: { args: ["i32"], returns: "i32" },
  fdatasync: { args: ["i32"], returns: "i32" },
  syncfs: { args: ["i32"], returns: "i32" },
  fallocate: { args: ["i32", "i32", i64, i64], returns: "i32" },
  ftruncate: { args: ["i32", i64], returns: "i32" },
  chmod: { args: ["ptr", "u32"], returns: "i32" },
  fchmod: { args: ["i32", "u32"], returns: "i32" },
  fchown: { args: ["i32", "u32", "u32"], returns: "i32" },
  unlink: { args: ["ptr"], returns: "i32" },
  rename: { args: ["ptr", "ptr"], returns: "i32" },
  link: { args: ["ptr", "ptr"], returns: "i32" },
  mkdir: { args: ["ptr", "u32"], returns: "i32" },
  rmdir: { args: ["ptr"], returns: "i32" },
  statfs: { args: ["ptr", "ptr"], returns: "i32" },
  mount: { args: ["ptr", "ptr", "ptr", "u64", "ptr"], returns: "i32" },
  umount2: { args: ["ptr", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "ptr"], returns: "i32" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  ppoll: { args: ["ptr", "u64", "ptr", "ptr"], returns: "i32" },
  sched_yield: { args: [], returns: "i32" },
  pipe2: { args: ["ptr", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: i64 },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", i64], returns: i64 },
  madvise: { args: ["ptr", "u64", "i32"], returns: "i32" },
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  getuid: { args: [], returns: "u32" },
  getgid: { args: [], returns: "u32" },
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
  unshare: { args: ["i32"], returns: "i32" },
  dup2: { args: ["i32", "i32"], returns: "i32" },
  posix_fadvise: { args: ["i32", i64, i64, "i32"], returns: "i32" },
  lseek: { args: ["i32", i64, "i32"], returns: i64 },
  mincore: { args: ["ptr", "u64", "ptr"], returns: "i32" },
  inotify_init1: { args: ["i32"], returns: "i32" },
  inotify_add_watch: { args: ["i32", "ptr", "u32"], returns: "i32" },
  inotify_rm_watch: { args: ["i32", "i32"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  waitid: { args: ["i32", "i32", "ptr", "i32"], returns: "i32" },
} as const satisfies Record<string, FFIFunction>

const { symbols } = dlopen(LIBC, SIGNATURES)

/** syscall(2) with the argument types of statx, for which older musl has no symbol. */
const statx = dlopen(LIBC, {
  syscall: { args: [i64, "i32", "ptr", "i32", "u32", "ptr"], returns: i64 },
}).symbols.syscall

const gettid = dlopen(LIBC, {
  syscall: { args: [i64], returns: i64 },
}).symbols.syscall

/** For calls without a symbol in libc, where all arguments are integers or addresses. */
const syscall = dlopen(LIBC, {
  syscall: { args: [i64, i64, i64, i64, i64, i64], returns: i64 },
}).symbols.syscall

const SYSCALL = process.arch === "arm64" ? { statx: 291, gettid: 178 } : { statx: 332, gettid: 186 }

const errnoAddress = must(symbols.__errno_location, "errno in libc")() as Pointer
const errnoSlot = new Int32Array(toArrayBuffer(errnoAddress, 0, 4))

/** errno of the libc call directly before this expression, on this thread. */
export function errno(): number {
  return errnoSlot[0] as number
}

type Signatures = typeof SIGNATURES

/** All calls of the table take and return numbers. */
type Calls = {
  readonly [Name in keyof Signatures]: (...given: Numbers<Signatures[Name]["args"]>) => number
}

type Numbers<Args extends readonly unknown[]> = { [Index in keyof Args]: number }

interface Libc extends Calls {
  statx(dirFd: number, path: number, flags: number, mask: number, into: number): number
  gettid(): number
  syscall(number: number, a: number, b: number, c: number, d: number, e: number): number
}

export const libc = {
  ...symbols,
  statx: statx?.bind(undefined, SYSCALL.statx),
  gettid: gettid?.bind(undefined, SYSCALL.gettid),
  syscall,
} as unknown as Libc

/** Memory at an address as an ArrayBuffer. The caller knows that the memory exists and stays. */
export function memoryAt(address: number, size: number): ArrayBuffer {
  return toArrayBuffer(address as Pointer, 0, size)
}
