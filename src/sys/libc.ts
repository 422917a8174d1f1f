/**
 * libc through bun:ffi: a table of symbols and the errno of this thread. Nothing outside `sys/` imports this.
 *
 * - Each thread has its own instance, since errno is per thread.
 * - `errno()` is only right in the expression that directly follows the failing call.
 * - A missing i32 argument is silently 0, so wrappers never pass a descriptor they have not checked.
 * - musl also answers to "libc.so.6": it maps every `libc.*` name to itself.
 */
import { dlopen, FFIType, type Pointer, toArrayBuffer } from "bun:ffi"
import { must } from "../lib/assert.ts"

const LIBC = "libc.so.6"

const { symbols } = dlopen(LIBC, {
  __errno_location: { args: [], returns: "ptr" },
  open: { args: ["ptr" /* path */, "i32" /* flags */, "i32" /* mode */], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  read: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
  write: { args: ["i32", "ptr", "u64"], returns: FFIType.i64_fast },
  pread: { args: ["i32", "ptr", "u64", FFIType.i64_fast], returns: FFIType.i64_fast },
  pwrite: { args: ["i32", "ptr", "u64", FFIType.i64_fast], returns: FFIType.i64_fast },
  fsync: { args: ["i32"], returns: "i32" },
  fdatasync: { args: ["i32"], returns: "i32" },
  syncfs: { args: ["i32"], returns: "i32" },
  fallocate: {
    args: ["i32", "i32", FFIType.i64_fast, FFIType.i64_fast],
    returns: "i32",
  },
  ftruncate: { args: ["i32", FFIType.i64_fast], returns: "i32" },
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
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
  sched_yield: { args: [], returns: "i32" },
  pipe2: { args: ["ptr", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: FFIType.i64_fast },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", FFIType.i64_fast], returns: FFIType.i64_fast },
  madvise: { args: ["ptr", "u64", "i32"], returns: "i32" },
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  getuid: { args: [], returns: "u32" },
  getgid: { args: [], returns: "u32" },
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
  unshare: { args: ["i32"], returns: "i32" },
  dup2: { args: ["i32", "i32"], returns: "i32" },
  posix_fadvise: {
    args: ["i32", FFIType.i64_fast, FFIType.i64_fast, "i32"],
    returns: "i32",
  },
  lseek: { args: ["i32", FFIType.i64_fast, "i32"], returns: FFIType.i64_fast },
  mincore: { args: ["ptr", "u64", "ptr"], returns: "i32" },
  inotify_init1: { args: ["i32"], returns: "i32" },
  inotify_add_watch: { args: ["i32", "ptr", "u32"], returns: "i32" },
  inotify_rm_watch: { args: ["i32", "i32"], returns: "i32" },
  waitid: { args: ["i32", "i32", "ptr", "i32"], returns: "i32" },
})

/** syscall(2) with the argument types of statx, for which older musl has no symbol. */
const statx = dlopen(LIBC, {
  syscall: {
    args: [FFIType.i64_fast, "i32", "ptr", "i32", "u32", "ptr"],
    returns: FFIType.i64_fast,
  },
}).symbols.syscall

const gettid = dlopen(LIBC, {
  syscall: { args: [FFIType.i64_fast], returns: FFIType.i64_fast },
}).symbols.syscall

/** For calls without a symbol in libc, where all arguments are integers or addresses. */
const syscall = dlopen(LIBC, {
  syscall: {
    args: [
      FFIType.i64_fast,
      FFIType.i64_fast,
      FFIType.i64_fast,
      FFIType.i64_fast,
      FFIType.i64_fast,
      FFIType.i64_fast,
    ],
    returns: FFIType.i64_fast,
  },
}).symbols.syscall

const SYSCALL = process.arch === "arm64" ? { statx: 291, gettid: 178 } : { statx: 332, gettid: 186 }

const errnoAddress = must(symbols.__errno_location, "errno in libc")() as Pointer
const errnoSlot = new Int32Array(toArrayBuffer(errnoAddress, 0, 4))

/** errno of the libc call directly before this expression, on this thread. */
export function errno(): number {
  return errnoSlot[0] as number
}

/** The calls with an address as a plain number. 64-bit results fit a number, because no file is that large. */
interface Libc {
  open(path: number, flags: number, mode: number): number
  close(fd: number): number
  read(fd: number, address: number, size: number): number
  write(fd: number, address: number, size: number): number
  pread(fd: number, address: number, size: number, offset: number): number
  pwrite(fd: number, address: number, size: number, offset: number): number
  fsync(fd: number): number
  fdatasync(fd: number): number
  syncfs(fd: number): number
  fallocate(fd: number, mode: number, offset: number, size: number): number
  ftruncate(fd: number, size: number): number
  chmod(path: number, mode: number): number
  fchmod(fd: number, mode: number): number
  fchown(fd: number, uid: number, gid: number): number
  unlink(path: number): number
  rename(from: number, to: number): number
  link(from: number, to: number): number
  mkdir(path: number, mode: number): number
  rmdir(path: number): number
  statfs(path: number, into: number): number
  mount(source: number, target: number, type: number, flags: number, data: number): number
  umount2(target: number, flags: number): number
  fcntl(fd: number, command: number, argument: number): number
  flock(fd: number, operation: number): number
  poll(set: number, count: number, timeoutMs: number): number
  sched_yield(): number
  pipe2(into: number, flags: number): number
  socketpair(domain: number, type: number, protocol: number, into: number): number
  recvmsg(fd: number, header: number, flags: number): number
  getsockname(fd: number, address: number, length: number): number
  getpeername(fd: number, address: number, length: number): number
  setsockopt(fd: number, level: number, name: number, value: number, size: number): number
  mmap(
    at: number,
    size: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ): number
  madvise(address: number, size: number, advice: number): number
  munmap(address: number, size: number): number
  getuid(): number
  getgid(): number
  ioctl(fd: number, request: number, argument: number): number
  unshare(flags: number): number
  dup2(fd: number, to: number): number
  inotify_init1(flags: number): number
  inotify_add_watch(fd: number, path: number, mask: number): number
  inotify_rm_watch(fd: number, watch: number): number
  waitid(kind: number, id: number, into: number, options: number): number
  statx(dirFd: number, path: number, flags: number, mask: number, into: number): number
  gettid(): number
  posix_fadvise(fd: number, offset: number, size: number, advice: number): number
  lseek(fd: number, offset: number, whence: number): number
  mincore(address: number, size: number, into: number): number
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
