/**
 * Mounting: from a directory to a descriptor of /dev/fuse that delivers the kernel's requests, and back.
 *
 * Root mounts with mount(2), with no helper and no library. Other users mount through the setuid program fusermount3,
 * which hands the descriptor back over a socket.
 */
import { spawnSync } from "node:child_process"
import { readFileSync, readlinkSync, realpathSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import { writeDevice } from "./device.ts"
import { Errno, errnoName, SysError } from "./errno.ts"
import {
  closedOnError,
  closeFile,
  closing,
  type Fd,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  openSpecial,
} from "./file.ts"
import { accessAt, type FileAccess } from "./file-access.ts"
import { fileSystemStatus } from "./file-status.ts"
import { errno, libc } from "./libc.ts"
import { allocate } from "./memory.ts"
import { pathAddress } from "./path.ts"
import { userId } from "./thread.ts"

const SOURCE = "litefs" // as the original: what `mount` and `df` show
const TYPE = "fuse.litefs"

const MS_NOSUID_NODEV = 2 | 4
const MNT_FORCE = 1
const MNT_DETACH = 2

export interface Mount {
  /** The descriptor of /dev/fuse. */
  readonly device: Fd
  /** The directory below the mount. */
  readonly directory: Fd
}

/**
 * Mounts on the directory. Requests queue up in the kernel until somebody reads the device. The kernel checks access by
 * the owners and modes that it is told. Without `allowOther` only this user may look, not even root.
 *
 * An existing dead mount stays until the last moment: otherwise a living program would write into the bare directory
 * below. (A mount on top of the dead one would be its child, and go with it.)
 */
export function mountFuse(path: string, allowOther: boolean): Mount {
  const options = `default_permissions${allowOther ? ",allow_other" : ""}`
  if (userId() === 0) return mountAsRoot(path, options)
  const directory = openSpecial("fuse:open", path, O_RDONLY)
  return closedOnError(directory, () => ({ device: mountByHelper(path, options), directory }))
}

/**
 * The owner of the directory to mount on. For a dead mount this is what the kernel remembers; when the kernel remembers
 * nothing, the dead mount goes.
 */
export function accessOfDirectory(path: string): FileAccess | undefined {
  try {
    return accessAt("fuse:stat", path)
  } catch (error) {
    if (!(error instanceof SysError && error.errno === Errno.ENOTCONN)) throw error
    libc.umount2(pathAddress(path), MNT_DETACH)
    return accessAt("fuse:stat", path)
  }
}

/** The devices of mounts of LiteFS there, "major:minor". */
export function mountDevices(directory: string): string[] {
  return mountsAt(directory).flatMap(({ type, device }) => (type === TYPE ? [device] : []))
}

/** Directories with a mount of LiteFS on top, as this process sees them. */
export function litefsMounts(): string[] {
  const onTop = new Map<string, string>()
  const mounts = parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"))
  for (const { directory, type } of mounts) onTop.set(directory, type)
  return [...onTop].filter(([, type]) => type === TYPE).map(([directory]) => directory)
}

/** Whether nobody serves the mount there any more. Blocks while its daemon lives and does not answer. */
export function isDeadMount(directory: string): boolean {
  try {
    fileSystemStatus("mount:probe", directory)
    return false
  } catch (error) {
    return error instanceof SysError && error.errno === Errno.ENOTCONN
  }
}

/** Whether a LiteFS mount exists there: a dead one after abortStaleMounts(). */
export function hasMount(directory: string): boolean {
  return mountsAt(directory).at(-1)?.type === TYPE
}

function mountAsRoot(path: string, more: string): Mount {
  const device = openDevice()
  return closedOnError(device, () => {
    if (hasMount(path)) libc.umount2(pathAddress(path), MNT_DETACH)
    const directory = openSpecial("fuse:open", path, O_RDONLY)
    closedOnError(directory, () => mountDevice(device, path, more))
    return { device, directory }
  })
}

function mountDevice(device: Fd, path: string, more: string): void {
  const options = `fd=${device},rootmode=40000,user_id=0,group_id=0,${more}`
  const strings = allocate(8192)
  const encoder = new TextEncoder()
  const put = (text: string, at: number) => {
    encoder.encodeInto(`${text}\0`, strings.bytes.subarray(at))
    return strings.address + at
  }
  const [source, type, data] = [put(SOURCE, 0), put(TYPE, 64), put(options, 128)]
  const failed = libc.mount(source, pathAddress(path), type, MS_NOSUID_NODEV, data) < 0
  const error = failed ? errno() : 0
  if (error === 0) return
  throw cannotMount(path, `mount(2) says ${errnoName(error)}${mountHint(error)}`)
}

function cannotMount(path: string, problem: string): LitefsError {
  return new LitefsError("unavailable", `Cannot mount on "${path}": ${problem}`)
}

function mountHint(error: number): string {
  switch (error) {
    case Errno.EPERM:
      return ", mounting needs CAP_SYS_ADMIN (in a container: --cap-add SYS_ADMIN --device /dev/fuse)"
    case Errno.EINVAL:
      return ", /dev/fuse is perhaps another device, make it with: mknod -m 666 /dev/fuse c 10 229"
    default:
      return ""
  }
}

/**
 * Another descriptor of the same mount, for notifications. The kernel gives up a request when the descriptor that it
 * was read from is closed.
 */
export function cloneDevice(device: Fd): Fd {
  const FUSE_DEV_IOC_CLONE = 0x8004e500
  const fd = openDevice()
  const argument = allocate(4096)
  new Int32Array(argument.bytes.buffer, argument.bytes.byteOffset, 1)[0] = device
  const failed = libc.ioctl(fd, FUSE_DEV_IOC_CLONE, argument.address) < 0
  const error = failed ? errno() : 0
  if (error === 0) return fd
  closeFile(fd)
  throw new SysError(error, "fuse:clone", "clone /dev/fuse")
}

function openDevice(): Fd {
  try {
    return openSpecial("fuse:open", "/dev/fuse", O_RDWR)
  } catch (error) {
    if (!(error instanceof SysError)) throw error
    const missing = error.errno === Errno.ENOENT || error.errno === Errno.ENODEV
    const hint = missing
      ? "it does not exist, the kernel needs the fuse module (modprobe fuse) and a container --device /dev/fuse"
      : `it may not be opened (${errnoName(error.errno)}), a container needs --device /dev/fuse`
    throw new LitefsError("unavailable", `Cannot use /dev/fuse: ${hint}`, { cause: error })
  }
}

/** msghdr (x86-64, arm64): iov@16 iovlen@24 control@32 controllen@40. cmsghdr: len@0 level@8 type@12 data@16. */
function mountByHelper(directory: string, more: string): Fd {
  const memory = allocate(4096)
  const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 4096)
  const AF_UNIX = 1
  const SOCK_STREAM_CLOEXEC = 1 | 0o2000000
  if (libc.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, memory.address) < 0) {
    throw new SysError(errno(), "fuse:open", "make a socket pair")
  }
  const [ours, theirs] = [view.getInt32(0, true), view.getInt32(4, true)]
  using _ours = closing(ours)
  using _theirs = closing(theirs)
  const options = `rw,nosuid,nodev,fsname=${SOURCE},subtype=litefs,${more}`
  const child = spawnSync("fusermount3", ["-o", options, "--", directory], {
    env: { ...process.env, _FUSE_COMMFD: "3" },
    stdio: ["ignore", "ignore", "pipe", theirs],
    encoding: "utf8",
  })
  if (child.error !== undefined) {
    const problem =
      "not root and no fusermount3 in PATH that this user may run, install fuse3 or run as root"
    throw cannotMount(directory, problem)
  }
  if (child.status === 0) return receiveDescriptor(ours, memory.address, view)
  const fault = child.stderr.trim().replaceAll("\n", "; ")
  throw cannotMount(directory, `${fault}${helperAdvice(fault)}`)
}

/** What a user can do about fusermount3's error. */
function helperAdvice(fault: string): string {
  // fusermount3 opens the device with the rights of the user.
  if (fault.includes("/dev/fuse")) {
    return ", run as root or let this user open it: chmod 666 /dev/fuse"
  }
  if (fault.includes("could not determine username")) {
    const line = `app:x:${userId()}:${userId()}::/:/bin/false`
    return `, run as root or give this user a name: echo ${line} >> /etc/passwd`
  }
  return ""
}

function receiveDescriptor(socket: Fd, address: number, view: DataView): Fd {
  const [HEADER, IOV, DATA, CONTROL] = [64, 128, 160, 192]
  for (let offset = HEADER; offset < CONTROL + 64; offset += 8) view.setBigUint64(offset, 0n, true)
  const pointer = (at: number, to: number) => view.setBigUint64(at, BigInt(address + to), true)
  pointer(HEADER + 16, IOV)
  view.setBigUint64(HEADER + 24, 1n, true)
  pointer(HEADER + 32, CONTROL)
  view.setBigUint64(HEADER + 40, 64n, true)
  pointer(IOV, DATA)
  view.setBigUint64(IOV + 8, 1n, true)
  const MSG_CMSG_CLOEXEC = 0x40000000
  const n = libc.recvmsg(socket, address + HEADER, MSG_CMSG_CLOEXEC)
  const [SOL_SOCKET, SCM_RIGHTS] = [1, 1]
  const isDescriptor =
    n >= 0 &&
    view.getInt32(CONTROL + 8, true) === SOL_SOCKET &&
    view.getInt32(CONTROL + 12, true) === SCM_RIGHTS
  if (!isDescriptor) {
    throw new LitefsError("unavailable", "Cannot mount: fusermount3 sent no descriptor")
  }
  return view.getInt32(CONTROL + 16, true)
}

/**
 * Takes the mount away. When files in it are still open, the name goes at once and the rest when they are closed. The
 * thread that answers the mount must not call it: the kernel flushes first. Returns why the mount stays; undefined when
 * it is gone.
 */
export function unmount(directory: string): string | undefined {
  if (userId() !== 0) {
    const command = ["-u", "-z", "--", directory]
    const ended = spawnSync("fusermount3", command, { stdio: ["ignore", "ignore", "pipe"] })
    if (ended.status === 0 || mountsIfKnown(directory)?.length === 0) return undefined
    return ended.error?.message ?? ended.stderr.toString().trim()
  }
  const error = libc.umount2(pathAddress(directory), 0) < 0 ? errno() : 0
  if (error === 0 || error === Errno.EINVAL) return undefined // EINVAL: somebody else unmounted it
  libc.umount2(pathAddress(directory), MNT_DETACH)
  return undefined
}

export interface MountEntry {
  readonly directory: string
  readonly type: string
  readonly device: string // "major:minor"
  /** Other mount namespaces may have it, too (mount_namespaces(7)). */
  readonly isShared: boolean
}

/** Mounts at exactly this path, the one on top last. /proc/self/mountinfo: proc(5), without symbolic links. */
export function mountsAt(directory: string): MountEntry[] {
  const path = withoutLinks(directory)
  return parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8")).filter(
    (mount) => mount.directory === path,
  )
}

/** The same; undefined when it is not known now, because this process can open no more files or has no memory. */
export function mountsIfKnown(directory: string): MountEntry[] | undefined {
  try {
    return mountsAt(directory)
  } catch (error) {
    if (/^(EMFILE|ENFILE|ENOMEM)$/.test((error as NodeJS.ErrnoException).code ?? ""))
      return undefined
    throw error
  }
}

const LINKS_MAX = 40 // Linux: MAXSYMLINKS

/** Follows symbolic links. Unlike realpath(3) it asks nothing of what is mounted there, which may be dead. */
function withoutLinks(path: string): string {
  let found = path
  try {
    for (let count = 0; count < LINKS_MAX; count++) {
      found = join(realpathSync(dirname(found)), basename(found))
      found = resolve(dirname(found), readlinkSync(found))
    }
  } catch {
    // It is no link, or there is nothing.
  }
  return found
}

/** The mount that a path without symbolic links is in: the longest directory above it. */
function mountOf(path: string): MountEntry | undefined {
  const mounts = parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"))
  const isAbove = ({ directory }: MountEntry) =>
    directory === "/" || path === directory || path.startsWith(`${directory}/`)
  return mounts
    .filter(isAbove)
    .reduce<MountEntry | undefined>(
      (found, mount) =>
        found !== undefined && found.directory.length > mount.directory.length ? found : mount,
      undefined,
    )
}

/** Whether a path without symbolic links is in a mount of LiteFS. */
export function isInMount(path: string): boolean {
  return mountOf(path)?.type === TYPE
}

export function parseMountInfo(text: string): MountEntry[] {
  const mounts: MountEntry[] = []
  for (const line of text.split("\n")) {
    const [left, right] = line.split(" - ")
    const fields = left?.split(" ") ?? []
    const directory = fields[4]
    const device = fields[2]
    const type = right?.split(" ")[0]
    if (directory === undefined || device === undefined || type === undefined) continue
    const plain = directory.replace(/\\([0-7]{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    const isShared = fields.slice(6).some((field) => field.startsWith("shared:"))
    mounts.push({ directory: plain, type, device, isShared })
  }
  return mounts
}

/**
 * Aborts the mounts that a killed daemon has left on the directory: processes that hang in them get an error and go on.
 * True when there was one. One dead mount stays, until mountFuse() replaces it. A mount that a living daemon serves is
 * left alone and is an error.
 *
 * A dead mount answers every request with ENOTCONN, but stat(2) of its root may still succeed from the kernel's cache;
 * statfs(2) always asks. The caller holds the lock of the data directory: the daemon that made the mount is gone, or
 * serves another data directory here.
 */
export function abortStaleMounts(directory: string): boolean {
  const count = mountsAt(directory).length
  if (!hasMount(directory)) return false
  if (probe(directory, PROBE_MS_MAX) === "answers") {
    const problem = "another litefs serves it, stop that one or choose another --fuse-dir"
    throw cannotMount(directory, problem)
  }
  if (userId() !== 0) {
    spawnSync("fusermount3", ["-u", "-z", "--", directory], { stdio: "ignore" })
    return true
  }
  for (let left = count; left > 1 && hasMount(directory); left--) {
    libc.umount2(pathAddress(directory), MNT_FORCE | MNT_DETACH)
  }
  abortConnection(directory)
  return true
}

/**
 * umount2(MNT_FORCE) aborts the connection of a FUSE mount before it checks whether the mount is busy. A descriptor of
 * ours makes the mount busy: it is aborted and stays.
 */
function abortConnection(directory: string): void {
  const fd = openSpecial("fuse:open", directory, O_PATH)
  libc.umount2(pathAddress(directory), MNT_FORCE)
  closeFile(fd)
}

/**
 * Everybody who waits for an answer of the mount, or asks from here on, gets an error. `device` is that of its entry:
 * the directory may have another mount by now, and when the mount is gone, the number may be another one's anywhere on
 * the machine. `descriptors` are those of /dev/fuse that this thread knows. They remain valid numbers, because other
 * threads may use them. Does not throw: of the three ways one works.
 */
export function abortMount(directory: string, device: string, descriptors: readonly Fd[]): void {
  attempt(() => {
    if (!mountsAt(directory).some((mount) => mount.device === device)) return
    const number = device.slice(device.indexOf(":") + 1)
    const fd = openSpecial("fuse:abort", `/sys/fs/fuse/connections/${number}/abort`, O_WRONLY)
    const { bytes, address } = allocate(1)
    bytes[0] = 0x31 // "1"
    writeDevice(fd, address, 1) // it has no offsets
    closeFile(fd)
  })
  attempt(() => {
    if (userId() === 0 && mountsAt(directory).at(-1)?.device === device) abortConnection(directory)
  })
  attempt(() => {
    // The kernel aborts the mount when its last descriptor is gone. The fs thread's goes with the thread.
    const nothing = openSpecial("fuse:abort", "/dev/null", O_RDWR)
    for (const fd of descriptors) libc.dup2(nothing, fd)
    closeFile(nothing)
  })
}

function attempt(way: () => void): void {
  try {
    way()
  } catch {
    // Another way works.
  }
}

/** A daemon that lives but is busy has this long to show it. */
const PROBE_MS_MAX = 10_000

/** What somebody says who asks the mount. Another process does, because a stuck mount never returns. */
export function probe(directory: string, limitMs: number): "answers" | "refuses" | "silent" {
  const { error, status } = spawnSync("stat", ["-f", "--", directory], {
    stdio: "ignore",
    timeout: limitMs,
  })
  if (error === undefined) return status === 0 ? "answers" : "refuses"
  const isMissing = "code" in error && error.code === "ENOENT"
  if (!isMissing) return "silent"
  try {
    fileSystemStatus("fuse:probe", directory) // FROM scratch: no stat(1)
    return "answers"
  } catch {
    return "refuses"
  }
}
