/**
 * The frames of the replication stream: u32 type, then the body of that type. Big endian.
 *
 *     1  ltx        u64 size (always written 0), string32 database, then the file in chunk framing
 *     2  ready      every database has been sent once
 *     3  end        the primary is closing the stream
 *     4  dropDb     string32 database: the replica has one that the primary does not
 *     5  handoff    string32 lease ID: the replica is to become primary
 *     6  hwm        u64 TXID, string32 database: what is safe in a backup
 *     7  heartbeat  i64 Unix milliseconds, by the clock of the primary
 *
 *  0x41  head       u64 TXID, string32 database: the last transaction of the primary
 *  0x48  judged     u64 TXID, u64 checksum, u32 0 or 1, string32 database: before a snapshot, whether that
 *                   position of the replica is on the primary's history (0) or on another (1)
 *  0x49  resumable  u64 token, string32 database: before a snapshot, what to name it by to get the rest
 *  0x4a  resuming   u64 token, u64 offset, string32 database: the ltx frame that comes next has the rest of it
 *  0x4b  catalogue  u32 count: so many listed frames follow, one for each database of the primary
 *  0x4c  listed     u64 TXID, u64 checksum, u32 state, string32 database: where the primary is with it. Also when
 *                   that is new, and after each snapshot, whose file counts if the state is 0
 *                   (0 present, 1 dropped, 2 refused when the primary started, 3 cannot be read)
 *
 * A string32 is a u32 length and UTF-8. Types above 0x40 are ours. They go only to a node that has asked for them in a
 * header of its request, because the original fails on unknown types.
 */

import { ByteReader, ByteWriter, readU32BE } from "../lib/bytes.ts"
import type { Pos, Txid } from "../ltx/pos.ts"

export interface LtxFrame {
  readonly type: "ltx"
  readonly size: bigint
  readonly database: string
}

export interface ReadyFrame {
  readonly type: "ready"
}

export interface EndFrame {
  readonly type: "end"
}

export interface DropDbFrame {
  readonly type: "dropDb"
  readonly database: string
}

export interface HandoffFrame {
  readonly type: "handoff"
  readonly leaseId: string
}

export interface HwmFrame {
  readonly type: "hwm"
  readonly txid: Txid
  readonly database: string
}

export interface HeartbeatFrame {
  readonly type: "heartbeat"
  readonly timestampMs: number
}

/** Sent when the replica lacks more than what follows at once: it then knows how far behind it is. */
export interface HeadFrame {
  readonly type: "head"
  readonly txid: Txid
  readonly database: string
}

export interface JudgedFrame {
  readonly type: "judged"
  readonly database: string
  readonly pos: Pos
  readonly is: "same" | "other"
}

export interface ResumableFrame {
  readonly type: "resumable"
  readonly database: string
  readonly token: bigint
}

export interface ResumingFrame {
  readonly type: "resuming"
  readonly database: string
  readonly token: bigint
  /** The bytes at the start of the file that are not sent again. */
  readonly offset: number
}

export interface CatalogueFrame {
  readonly type: "catalogue"
  readonly count: number
}

/** The primary cannot send the last two: the stream leaves them out. */
export const LISTED_STATES = ["present", "dropped", "refused", "unreadable"] as const

export type ListedState = (typeof LISTED_STATES)[number]

export interface ListedFrame {
  readonly type: "listed"
  readonly database: string
  readonly pos: Pos
  readonly state: ListedState
}

export type Frame =
  | LtxFrame
  | ReadyFrame
  | EndFrame
  | DropDbFrame
  | HandoffFrame
  | HwmFrame
  | HeartbeatFrame
  | HeadFrame
  | JudgedFrame
  | ResumableFrame
  | ResumingFrame
  | CatalogueFrame
  | ListedFrame

/** How one type of frame is encoded, without the type itself. */
interface FrameCodec<F extends Frame> {
  readonly code: number
  /** The size of the body before its text. */
  readonly fixedSize: number
  /** Whether the body ends in a string32. */
  readonly hasText: boolean
  encode(w: ByteWriter, frame: F): void
  decode(r: ByteReader): F
}

/** Set to "1" by a replica that knows judged frames. */
export const WANTS_VERDICTS_HEADER = "litefs-verdicts"

/** Set to "1" by a replica that knows resumable frames. */
export const CAN_RESUME_HEADER = "litefs-can-resume"

/** Tells what a replica has of a snapshot: see encodeResume(). */
export const RESUME_HEADER = "litefs-resume"

export interface ResumePoint {
  readonly token: bigint
  readonly offset: number // bytes received
  readonly database: string
}

/** `<token, 16 hexadecimal digits>/<offset>/<database, percent-encoded>` */
export function encodeResume({ token, offset, database }: ResumePoint): string {
  return `${token.toString(16).padStart(16, "0")}/${offset}/${encodeURIComponent(database)}`
}

/** Undefined for any other text. */
export function decodeResume(text: string): ResumePoint | undefined {
  const match = /^([0-9a-f]{16})\/(\d{1,15})\/([^/]{1,765})$/.exec(text)
  if (match === null) return undefined
  try {
    const database = decodeURIComponent(match[3] as string)
    return { token: BigInt(`0x${match[1]}`), offset: Number(match[2]), database }
  } catch {
    return undefined
  }
}

/** Enough for a database name and for a lease ID. */
export const MAX_FRAME_TEXT_SIZE = 255

const TYPE_SIZE = 4
const TEXT_LENGTH_SIZE = 4

/** A frame without the file that follows an ltx frame is never larger. */
export const MAX_FRAME_SIZE = TYPE_SIZE + 20 + TEXT_LENGTH_SIZE + MAX_FRAME_TEXT_SIZE

const ltx: FrameCodec<LtxFrame> = {
  code: 1,
  fixedSize: 8,
  hasText: true,
  encode: (w, f) => writeText(w.u64(f.size), f.database),
  decode: (r) => ({ type: "ltx", size: r.u64(), database: readText(r) }),
}

const ready: FrameCodec<ReadyFrame> = {
  code: 2,
  fixedSize: 0,
  hasText: false,
  encode: () => {},
  decode: () => ({ type: "ready" }),
}

const end: FrameCodec<EndFrame> = {
  code: 3,
  fixedSize: 0,
  hasText: false,
  encode: () => {},
  decode: () => ({ type: "end" }),
}

const dropDb: FrameCodec<DropDbFrame> = {
  code: 4,
  fixedSize: 0,
  hasText: true,
  encode: (w, f) => writeText(w, f.database),
  decode: (r) => ({ type: "dropDb", database: readText(r) }),
}

const handoff: FrameCodec<HandoffFrame> = {
  code: 5,
  fixedSize: 0,
  hasText: true,
  encode: (w, f) => writeText(w, f.leaseId),
  decode: (r) => ({ type: "handoff", leaseId: readText(r) }),
}

const hwm: FrameCodec<HwmFrame> = {
  code: 6,
  fixedSize: 8,
  hasText: true,
  encode: (w, f) => writeText(w.u64(f.txid), f.database),
  decode: (r) => ({ type: "hwm", txid: r.u64(), database: readText(r) }),
}

const heartbeat: FrameCodec<HeartbeatFrame> = {
  code: 7,
  fixedSize: 8,
  hasText: false,
  encode: (w, f) => void w.i64(BigInt(f.timestampMs)),
  decode: (r) => ({ type: "heartbeat", timestampMs: r.safeI64() }),
}

const head: FrameCodec<HeadFrame> = {
  code: 0x41,
  fixedSize: 8,
  hasText: true,
  encode: (w, f) => writeText(w.u64(f.txid), f.database),
  decode: (r) => ({ type: "head", txid: r.u64(), database: readText(r) }),
}

const judged: FrameCodec<JudgedFrame> = {
  code: 0x48,
  fixedSize: 20,
  hasText: true,
  encode: (w, f) => {
    writeText(
      w
        .u64(f.pos.txid)
        .u64(f.pos.checksum)
        .u32(f.is === "same" ? 0 : 1),
      f.database,
    )
  },
  decode: (r) => ({
    type: "judged",
    pos: { txid: r.u64(), checksum: r.u64() },
    is: r.u32() === 0 ? "same" : "other",
    database: readText(r),
  }),
}

const resumable: FrameCodec<ResumableFrame> = {
  code: 0x49,
  fixedSize: 8,
  hasText: true,
  encode: (w, f) => writeText(w.u64(f.token), f.database),
  decode: (r) => ({ type: "resumable", token: r.u64(), database: readText(r) }),
}

const resuming: FrameCodec<ResumingFrame> = {
  code: 0x4a,
  fixedSize: 16,
  hasText: true,
  encode: (w, f) => writeText(w.u64(f.token).u64(BigInt(f.offset)), f.database),
  decode: (r) => ({
    type: "resuming",
    token: r.u64(),
    offset: Number(r.u64()),
    database: readText(r),
  }),
}

const catalogue: FrameCodec<CatalogueFrame> = {
  code: 0x4b,
  fixedSize: 4,
  hasText: false,
  encode: (w, f) => void w.u32(f.count),
  decode: (r) => ({ type: "catalogue", count: r.u32() }),
}

const listed: FrameCodec<ListedFrame> = {
  code: 0x4c,
  fixedSize: 20,
  hasText: true,
  encode: (w, f) => {
    const { pos, state, database } = f
    writeText(w.u64(pos.txid).u64(pos.checksum).u32(LISTED_STATES.indexOf(state)), database)
  },
  decode: (r) => ({
    type: "listed",
    pos: { txid: r.u64(), checksum: r.u64() },
    state: listedState(r.u32()),
    database: readText(r),
  }),
}

function listedState(code: number): ListedState {
  const state = LISTED_STATES[code]
  if (state !== undefined) return state
  const limit = `expected at most ${LISTED_STATES.length - 1}`
  throw new RangeError(`Cannot decode stream frame: a database in state ${code}, ${limit}`)
}

const codecs: { readonly [T in Frame["type"]]: FrameCodec<Extract<Frame, { type: T }>> } = {
  ltx,
  ready,
  end,
  dropDb,
  handoff,
  hwm,
  heartbeat,
  head,
  judged,
  resumable,
  resuming,
  catalogue,
  listed,
}

const codecByCode: ReadonlyMap<number, FrameCodec<Frame>> = new Map(
  Object.values(codecs).map((codec) => [codec.code, codec as FrameCodec<Frame>]),
)

/** The frame without the file that follows an ltx frame. */
export function encodeFrame(frame: Frame): Uint8Array {
  const codec = codecs[frame.type] as FrameCodec<Frame>
  const w = new ByteWriter(MAX_FRAME_SIZE)
  w.u32(codec.code)
  codec.encode(w, frame)
  return w.finish()
}

/** Decodes a frame from exactly these bytes. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const r = new ByteReader(bytes, "stream frame")
  const codec = codecOf(r.u32())
  const frame = codec.decode(r)
  r.end()
  return frame
}

/** The size of the frame that begins with these bytes, as far as they tell: at least this much. */
export function leastFrameSize(bytes: Uint8Array): number {
  if (bytes.length < TYPE_SIZE) return TYPE_SIZE
  const codec = codecOf(readU32BE(bytes, 0))
  const textAt = TYPE_SIZE + codec.fixedSize
  if (!codec.hasText) return textAt
  if (bytes.length < textAt + TEXT_LENGTH_SIZE) return textAt + TEXT_LENGTH_SIZE
  const textSize = readU32BE(bytes, textAt)
  if (textSize > MAX_FRAME_TEXT_SIZE) {
    const limit = `expected at most ${MAX_FRAME_TEXT_SIZE}`
    throw new RangeError(`Cannot decode stream frame: a text of ${textSize} bytes, ${limit}`)
  }
  return textAt + TEXT_LENGTH_SIZE + textSize
}

function codecOf(code: number): FrameCodec<Frame> {
  const codec = codecByCode.get(code)
  if (codec !== undefined) return codec
  throw new RangeError(`Cannot decode stream frame: unknown type 0x${code.toString(16)}`)
}

function writeText(w: ByteWriter, text: string): void {
  const size = Buffer.byteLength(text)
  if (size > MAX_FRAME_TEXT_SIZE) {
    const limit = `expected at most ${MAX_FRAME_TEXT_SIZE}`
    throw new RangeError(`Cannot encode stream frame: a text of ${size} bytes, ${limit}`)
  }
  w.string32(text)
}

function readText(r: ByteReader): string {
  return r.string32(MAX_FRAME_TEXT_SIZE)
}
