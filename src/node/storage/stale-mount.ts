/**
 * What a killed daemon has left: a mount, and clients that have files of it open, which the kernel would answer from
 * its cache for ever (sys/process/stale-handles.ts). The same goes for clients of a stopped daemon, and of a mount that
 * somebody has taken away: a file in the data directory says which device it was.
 */
import { readFileSync, rmSync } from "node:fs"
import { systemClock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { untilSeen } from "../../lib/until.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { LastRun } from "../../recovery/recover.ts"
import { SHARED_FIRST, SHARED_SIZE, WAL_WRITE_LOCK } from "../../sqlite/lock-bytes.ts"
import {
  barWalIndexHeader,
  decodeWalIndexHeader,
  encodeWalIndexHeader,
  isBarred,
} from "../../sqlite/wal-index.ts"
import { DataDir } from "../../store/data-dir.ts"
import { replaceFile } from "../../store/synced.ts"
import { closeFile, readWhole } from "../../sys/file.ts"
import { abortStaleMounts, mountDevices, otherDevices } from "../../sys/mount.ts"
import { rightsOf, rightToTrace } from "../../sys/process/capabilities.ts"
import { describeProcess, isDying } from "../../sys/process/process.ts"
import { dropStaleHandles } from "../../sys/process/stale-handles.ts"

const log = logger("litefs")

/** A process whose mount is aborted ends within this time. */
const DYING_MS_MAX = 5000
/** A client that writes past the daemon ends its transaction within this time, or keeps the node from starting. */
const KEPT = {
  clock: systemClock,
  index: { start: WAL_WRITE_LOCK, length: 1 },
  emptied,
  database: { start: SHARED_FIRST, length: SHARED_SIZE },
  limitMs: 5000,
}

function emptied(head: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length)
  const header = decodeWalIndexHeader(isBarred(head) ? barWalIndexHeader(head, false) : head)
  if (header === undefined) return bytes
  const empty = encodeWalIndexHeader({ ...header, frameCount: 0, change: header.change + 1 })
  bytes.set(empty, 0)
  bytes.set(empty, empty.length)
  return bytes
}

/**
 * Takes the mount away. The lock of the data directory proves that its daemon is gone; a daemon that serves another
 * data directory here is detected by its answers.
 *
 * A daemon that was killed while a thread of its own waited for its mount cannot end, and keeps the lock, until
 * somebody aborts the mount.
 */
export async function recoverMount(
  options: Pick<LiteFSOptions, "fuseDir" | "dataDir">,
): Promise<void> {
  const dataDir = new DataDir(options.dataDir)
  const devices = new Set([...mountDevices(options.fuseDir), ...rememberedDevices(dataDir)])
  const holder = dataDir.exists() ? dataDir.lockHolder() : undefined
  if (holder !== undefined && isDying(holder)) {
    abortStaleMounts(options.fuseDir)
    log.warn("ended a daemon that was killed and could not exit", { pid: holder })
    const wait = { clock: systemClock, limitMs: DYING_MS_MAX, pauseMs: 50 }
    await untilSeen(() => !isDying(holder), wait)
  }
  const lock = dataDir.exists() ? dataDir.lock() : undefined
  try {
    if (abortStaleMounts(options.fuseDir)) {
      log.info("found a dead mount", { dir: options.fuseDir })
    }
    if (devices.size > 0) endStaleHandles(devices, dataDir)
  } finally {
    if (lock !== undefined) closeFile(lock)
  }
}

/**
 * Makes clients of a dead daemon notice that it is gone. Those who wrote past it live on with files that nobody else
 * has any more (recovery/wal-tail.ts), and are kept from writing to them by every daemon that comes.
 */
function endStaleHandles(devices: ReadonlySet<string>, dataDir: DataDir): void {
  const isBehind = wasBehind(dataDir)
  const handles = dropStaleHandles(devices, isBehind ? KEPT : undefined)
  if (isBehind)
    writeMounted(
      dataDir,
      [...devices].filter((device) => handles.devices.includes(device)),
      true,
    )
  const { pids, denied, hidden, mapped, writing } = handles
  const tell = (some: readonly number[], message: string, problem: string) => {
    if (some.length > 0) log.error(message, { pids: listed(some), problem })
  }
  if (pids.length > 0) {
    const message = "clients of the last daemon get I/O errors until they open their files again"
    log.warn(message, { pids: listed(pids) })
  }
  // They may commit to a WAL that nobody follows any more. Who hides what is open, and holds no lock, has no WAL open.
  const writers = isBehind ? [...writing, ...denied] : []
  if (writers.length > 0) {
    throw new LitefsError(
      "unavailable",
      `Cannot take over from the last daemon: clients wrote past it, and may still write to its WALs, end them first: ${listed(writers)}`,
    )
  }
  const message = "clients of the last daemon may read old data, restart them"
  tell(denied, message, rightTo(denied))
  tell(mapped, message, "several have the same pages mapped (mmap_size), which LiteFS cannot unmap")
  if (hidden.length === 0) return
  log.info("cannot tell whether processes are clients of the last daemon and read old data", {
    ...{ pids: listed(hidden), problem: rightTo(hidden) },
  })
}

function rightTo(pids: readonly number[]): string {
  const self = rightsOf("self")
  if (self === undefined || pids.length === 0) return ""
  return rightToTrace(
    self,
    pids.map(rightsOf).filter((rights) => rights !== undefined),
  )
}

const LISTED_COUNT_MAX = 100

/** With their commands: the first process of a container is one like others. */
function listed(pids: readonly number[]): string {
  const some = pids
    .toSorted((a, b) => b - a)
    .slice(0, LISTED_COUNT_MAX) // the youngest
    .map(describeProcess)
    .join(", ")
  return pids.length > LISTED_COUNT_MAX ? `${some}, …` : some
}

/**
 * Call it after mounting. `isBehind`: the WAL of a database may have commits that nobody has captured. Returns how to
 * tell that none has.
 */
export function rememberMount(
  dataDir: DataDir,
  fuseDir: string,
  isBehind: boolean,
): { notBehind(): void } {
  const others = wasBehind(dataDir) ? rememberedDevices(dataDir) : [] // of clients that are kept from writing
  const devices = new Set([...others, ...mountDevices(fuseDir).slice(-1)])
  const write = (mayBe: boolean) => writeMounted(dataDir, [...devices], mayBe || others.length > 0)
  write(isBehind)
  return { notBehind: () => write(false) }
}

function writeMounted(
  { mountedPath }: DataDir,
  devices: readonly string[],
  isBehind: boolean,
): void {
  try {
    const words = [bootId(), ...devices, ...(isBehind ? [BEHIND] : [])]
    // Killed in the middle, it still says what an earlier daemon has left.
    replaceFile("mounted", mountedPath, new TextEncoder().encode(`${words.join(" ")}\n`))
  } catch (error) {
    log.warn("cannot record which mount this is", { file: mountedPath, error })
  }
}

const BEHIND = "behind"

/** Whether clients wrote past the last daemon, which was not stopped, or had clients when it was. */
function wasBehind(dataDir: DataDir): boolean {
  return readMounted(dataDir).includes(BEHIND)
}

/** What recovery is to know of the last daemon. */
export function lastRun(dataDir: DataDir, nodeId: bigint): LastRun {
  const [boot] = readMounted(dataDir)
  const isSameBoot = boot === bootId()
  return { isSameBoot, past: wasBehind(dataDir) ? { nodeId, isSameBoot } : undefined }
}

/** No file of the mount is open any more. `isBehind` as above: the next start needs to know. */
export function forgetMount(dataDir: DataDir, isBehind: boolean): void {
  if (isBehind) writeMounted(dataDir, [], true)
  else rmSync(dataDir.mountedPath, { force: true })
}

/** Device numbers mean nothing after the machine has restarted, nor when another file system has got them since. */
function rememberedDevices(dataDir: DataDir): string[] {
  const [boot, ...words] = readMounted(dataDir)
  if (boot !== bootId()) return []
  const others = otherDevices()
  return words.filter((word) => /^\d+:\d+$/.test(word) && !others.has(word))
}

/**
 * `BOOT DEVICE… [behind]`: of the mount, and of older ones whose clients are kept from writing. No device: of a refused
 * database that has a WAL like that still. Empty when the last daemon was stopped. Throws when nobody can tell: commits
 * that only a WAL has must not be taken for none.
 */
function readMounted({ mountedPath }: DataDir): string[] {
  const bytes = readWhole("mounted:read", mountedPath)
  return bytes === undefined ? [] : new TextDecoder().decode(bytes).trim().split(" ")
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
}
