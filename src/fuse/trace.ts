/**
 * Requests and replies as lines, for `--fuse-debug`:
 *
 *   rx 42: WRITE n5 h3 [4096 +4096) p123
 *   tx 42: OK 8 bytes
 *
 * n is a node, h a handle, p the process that asks; ranges are [offset +size). A request that is answered later logs
 * `tx 42: deferred`, and another tx line with its answer.
 */
import { errnoName } from "../sys/errno.ts"
import {
  Fattr,
  FsyncFlag,
  flagNames,
  InitFlag,
  InitFlag2,
  LkFlag,
  LockType,
  OpenFlag,
  ReleaseFlag,
  RenameFlag,
  WriteFlag,
} from "./flags.ts"
import { Opcode } from "./opcodes.ts"
import { join64, type Request } from "./request.ts"

/** A request that is not `isWhole` is refused; its missing parts are not read. */
export function traceRequest(request: Request, isWhole: boolean): string {
  const { uniqueLo, uniqueHi, opcode, nodeId, pid } = request.header
  const name = OPCODE_NAMES.get(opcode) ?? `opcode ${opcode}`
  const details = isWhole
    ? (DETAILS[opcode]?.(request) ?? "")
    : `malformed, ${request.length} bytes`
  const words = [name, `n${nodeId}`, details, `p${pid}`].filter((word) => word !== "")
  return `rx ${join64(uniqueLo, uniqueHi)}: ${words.join(" ")}`
}

/** `answer` is the size of the payload, or -errno. */
export function traceReply(uniqueLo: number, uniqueHi: number, answer: number): string {
  const unique = join64(uniqueLo, uniqueHi)
  if (answer < 0) return `tx ${unique}: ${errnoName(-answer)}`
  return answer === 0 ? `tx ${unique}: OK` : `tx ${unique}: OK ${answer} bytes`
}

export function traceDeferral(uniqueLo: number, uniqueHi: number): string {
  return `tx ${join64(uniqueLo, uniqueHi)}: deferred`
}

const OPCODE_NAMES = new Map<number, string>(
  Object.entries(Opcode).map(([name, opcode]) => [opcode, name]),
)

const LOCK_TYPE_NAMES = new Map<number, string>(
  Object.entries(LockType).map(([name, type]) => [type, name]),
)

const DETAILS: Readonly<Record<number, (request: Request) => string>> = {
  [Opcode.LOOKUP]: nameOf,
  [Opcode.UNLINK]: nameOf,
  [Opcode.MKNOD]: nameOf,
  [Opcode.MKDIR]: nameOf,
  [Opcode.RMDIR]: nameOf,
  [Opcode.FORGET]: ({ forget }) => `-${forget.count}`,
  [Opcode.BATCH_FORGET]: ({ batchForget }) => `${batchForget.count} nodes`,
  [Opcode.SETATTR]: setattrDetails,
  [Opcode.OPEN]: ({ open }) => openFlags(open.flags),
  [Opcode.OPENDIR]: ({ open }) => openFlags(open.flags),
  [Opcode.CREATE]: (request) => {
    const { flags, mode } = request.create
    return `${nameOf(request)} ${openFlags(flags)} 0${mode.toString(8)}`
  },
  [Opcode.READ]: readDetails,
  [Opcode.READDIR]: readDetails,
  [Opcode.WRITE]: ({ write }) => {
    const { handle, offset, size, writeFlags } = write
    const flags = writeFlags === 0 ? "" : ` ${flagNames(WriteFlag, writeFlags)}`
    return `h${handle} [${offset} +${size})${flags}`
  },
  [Opcode.FLUSH]: ({ flush }) => `h${flush.handle} ${owner(flush.ownerLo, flush.ownerHi)}`,
  [Opcode.RELEASE]: releaseDetails,
  [Opcode.RELEASEDIR]: releaseDetails,
  [Opcode.FSYNC]: fsyncDetails,
  [Opcode.FSYNCDIR]: fsyncDetails,
  [Opcode.GETLK]: lockDetails,
  [Opcode.SETLK]: lockDetails,
  [Opcode.SETLKW]: lockDetails,
  [Opcode.RENAME]: (request) => `${nameOf(request)} ${newNameOf(request, request.rename)}`,
  [Opcode.RENAME2]: (request) => {
    const flags = flagNames(RenameFlag, request.rename2.flags)
    return `${nameOf(request)} ${newNameOf(request, request.rename2)} ${flags}`
  },
  [Opcode.INTERRUPT]: ({ interrupt }) => `of ${join64(interrupt.uniqueLo, interrupt.uniqueHi)}`,
  [Opcode.INIT]: ({ init }) => {
    const { major, minor, maxReadahead, flags, flags2 } = init
    const names = `${flagNames(InitFlag, flags)} ${flagNames(InitFlag2, flags2)}`
    return `${major}.${minor} readahead ${maxReadahead} ${names}`
  },
}

function nameOf({ name }: Request): string {
  return quoted(name)
}

function newNameOf({ newName }: Request, { newParentId }: { newParentId: number }): string {
  return `to n${newParentId} ${quoted(newName)}`
}

function quoted(name: string | undefined): string {
  return name === undefined ? "(not UTF-8)" : JSON.stringify(name)
}

function openFlags(flags: number): string {
  const isReadOnly = (flags & (OpenFlag.WRONLY | OpenFlag.RDWR)) === 0
  if (!isReadOnly) return flagNames(OpenFlag, flags)
  return flags === 0 ? "RDONLY" : `RDONLY|${flagNames(OpenFlag, flags)}`
}

function owner(lo: number, hi: number): string {
  return `owner ${join64(lo, hi).toString(16)}`
}

function setattrDetails({ setattr, change }: Request): string {
  const words = [flagNames(Fattr, setattr.valid)]
  if (change.handle !== undefined) words.unshift(`h${change.handle}`)
  if (change.size !== undefined) words.push(`size ${change.size}`)
  if (change.mode !== undefined) words.push(`mode 0${change.mode.toString(8)}`)
  if (change.uid !== undefined) words.push(`uid ${change.uid}`)
  if (change.gid !== undefined) words.push(`gid ${change.gid}`)
  return words.join(" ")
}

function readDetails({ read }: Request): string {
  return `h${read.handle} [${read.offset} +${read.size})`
}

function releaseDetails({ release }: Request): string {
  const { handle, releaseFlags, ownerLo, ownerHi } = release
  if (releaseFlags === 0) return `h${handle}`
  return `h${handle} ${flagNames(ReleaseFlag, releaseFlags)} ${owner(ownerLo, ownerHi)}`
}

function fsyncDetails({ fsync }: Request): string {
  return fsync.flags === 0
    ? `h${fsync.handle}`
    : `h${fsync.handle} ${flagNames(FsyncFlag, fsync.flags)}`
}

function lockDetails({ lk }: Request): string {
  const { handle, ownerLo, ownerHi, type, flags } = lk
  const start = join64(lk.startLo, lk.startHi)
  const end = join64(lk.endLo, lk.endHi)
  const kind = LOCK_TYPE_NAMES.get(type) ?? `type ${type}`
  const range = (flags & LkFlag.FLOCK) === 0 ? ` [${start}..${end}]` : " FLOCK"
  return `h${handle} ${kind}${range} ${owner(ownerLo, ownerHi)}`
}
