/**
 * Descriptors that a thread keeps for the time when its process may open no more files (RLIMIT_NOFILE). Then ordinary
 * opens fail, and urgent ones take one of these. The next closed descriptors replace them first.
 *
 * Each thread has its own copy of this module. Threads that share a table of descriptors keep theirs side by side.
 */
import { Errno } from "./errno.ts"
import { errno, libc } from "./libc.ts"
import { pathAddress } from "./path.ts"

export interface SpareDescriptorsOptions {
  readonly count: number
  /** Whether connections are accepted to the same table: while there are too few for all, one is left for the next. */
  readonly leavesOne?: boolean
  /** Whether the call of this name (see sys/faults.ts) may take one. */
  isUrgent(op: string): boolean
  /** Called when only spares are left, and when there are others again. */
  onShort(isShort: boolean): void
}

const O_RDWR_CLOEXEC = 2 | 0o2000000

const spares: number[] = []
let options: SpareDescriptorsOptions | undefined
let isShort = false
let lastError = 0 // of openNothing()

export function keepSpareDescriptors(given: SpareDescriptorsOptions): void {
  options = given
  refillSpares()
}

/** An open has failed with this errno: whether another try is worthwhile. */
export function makeRoom(op: string, error: number): boolean {
  if (error !== Errno.EMFILE || options === undefined) return false
  noteShort()
  const spare = options.isUrgent(op) ? spares.pop() : undefined
  if (spare === undefined) return false
  libc.close(spare)
  return true
}

/** Call it when there may be room again. */
export function refillSpares(): void {
  if (options === undefined) return
  while (spares.length < options.count) {
    const fd = openNothing()
    if (fd === undefined) return leaveOne()
    spares.push(fd)
  }
  if (!isShort) return
  const more = openNothing()
  if (more === undefined) return
  libc.close(more)
  options.onShort(false)
  isShort = false
}

function noteShort(): void {
  if (!isShort) options?.onShort(true)
  isShort = true
}

function leaveOne(): void {
  const spare = options?.leavesOne === true ? spares.pop() : undefined
  if (spare !== undefined) libc.close(spare)
}

/** Whether so many files more could be opened now, beside the spare ones. */
export function canOpen(count: number): boolean {
  const opened: number[] = []
  while (opened.length < count) {
    const fd = openNothing()
    if (fd === undefined) break
    opened.push(fd)
  }
  for (const fd of opened) libc.close(fd)
  if (opened.length === count || lastError !== Errno.EMFILE) return true
  if (opened.length === 0) noteShort()
  return false
}

/** Undefined when there is no room, or no such device here: then nothing is kept. */
function openNothing(): number | undefined {
  const fd = libc.open(pathAddress("/dev/null"), O_RDWR_CLOEXEC, 0)
  if (fd < 0) lastError = errno()
  return fd < 0 ? undefined : fd
}
