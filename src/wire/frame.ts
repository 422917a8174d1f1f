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
 *  0x4d  acknowledged  u64 TXID, u64 checksum, string32 database: of a replica, in the body of POST /acknowledge: it has
 *                   the database up to there, durably
 *
 * A string32 is a u32 length and UTF-8. Types above 0x40 are ours. They go only to a node that has asked for them in a
 * header of its request, because the original fails on unknown types.
 */

import { ByteReader, ByteWriter, readU32BE } from "../lib/bytes.ts"
import type { Pos } from "../ltx/pos.ts"

/** How a value lies in the body of a frame. */
interface Field<T> {
  /** Bytes; of a text only its length. */
  readonly size: number
  readonly write: (w: ByteWriter, value: T) => void
  readonly read: (r: ByteReader) => T
}

/** The primary cannot send the last two: the stream leaves them out. */
const LISTED_STATES = ["present", "dropped", "refused", "unreadable"] as const

export type ListedState = (typeof LISTED_STATES)[number]

const u64: Field<bigint> = { size: 8, write: (w, value) => w.u64(value), read: (r) => r.u64() }
const u32: Field<number> = { size: 4, write: (w, value) => w.u32(value), read: (r) => r.u32() }
const time: Field<number> = {
  size: 8,
  write: (w, ms) => w.i64(BigInt(ms)),
  read: (r) => r.safeI64(),
}
const offset: Field<number> = {
  size: 8,
  write: (w, value) => w.u64(BigInt(value)),
  read: (r) => Number(r.u64()),
}
const pos: Field<Pos> = {
  size: 16,
  write: (w, { txid, checksum }) => w.u64(txid).u64(checksum),
  read: (r) => ({ txid: r.u64(), checksum: r.u64() }),
}
const history: Field<"same" | "other"> = {
  size: 4,
  write: (w, value) => w.u32(value === "same" ? 0 : 1),
  read: (r) => (r.u32() === 0 ? "same" : "other"),
}
const listedState: Field<ListedState> = {
  size: 4,
  write: (w, state) => w.u32(LISTED_STATES.indexOf(state)),
  read(r) {
    const code = r.u32()
    const state = LISTED_STATES[code]
    if (state !== undefined) return state
    const limit = `expected at most ${LISTED_STATES.length - 1}`
    throw new RangeError(`Cannot decode stream frame: a database in state ${code}, ${limit}`)
  },
}

const TYPE_SIZE = 4
const TEXT_LENGTH_SIZE = 4

/** Enough for a database name and for a lease ID. */
const MAX_FRAME_TEXT_SIZE = 255

/** A frame without the file that follows an ltx frame is never larger. */
export const MAX_FRAME_SIZE = TYPE_SIZE + 20 + TEXT_LENGTH_SIZE + MAX_FRAME_TEXT_SIZE

/** Ends the body of a frame that has one. */
const text: Field<string> = {
  size: TEXT_LENGTH_SIZE,
  write(w, value) {
    const size = Buffer.byteLength(value)
    if (size > MAX_FRAME_TEXT_SIZE) {
      const limit = `expected at most ${MAX_FRAME_TEXT_SIZE}`
      throw new RangeError(`Cannot encode stream frame: a text of ${size} bytes, ${limit}`)
    }
    w.string32(value)
  },
  read: (r) => r.string32(MAX_FRAME_TEXT_SIZE),
}

/** The fields of each type of frame, in their order in the body. */
const FIELDS = {
  ltx: { size: u64, database: text },
  ready: {},
  end: {},
  dropDb: { database: text },
  handoff: { leaseId: text },
  hwm: { txid: u64, database: text },
  heartbeat: { timestampMs: time },
  /** Sent when the replica lacks more than what follows at once: it then knows how far behind it is. */
  head: { txid: u64, database: text },
  judged: { pos, is: history, database: text },
  resumable: { token: u64, database: text },
  /** `offset`: the bytes at the start of the file that are not sent again. */
  resuming: { token: u64, offset, database: text },
  catalogue: { count: u32 },
  listed: { pos, state: listedState, database: text },
  acknowledged: { pos, database: text },
} as const

type FrameType = keyof typeof FIELDS

const CODES: Readonly<Record<FrameType, number>> = {
  ltx: 1,
  ready: 2,
  end: 3,
  dropDb: 4,
  handoff: 5,
  hwm: 6,
  heartbeat: 7,
  head: 0x41,
  judged: 0x48,
  resumable: 0x49,
  resuming: 0x4a,
  catalogue: 0x4b,
  listed: 0x4c,
  acknowledged: 0x4d,
}

type FrameOf<Type extends FrameType> = { readonly type: Type } & {
  readonly [Name in keyof (typeof FIELDS)[Type]]: (typeof FIELDS)[Type][Name] extends Field<infer T>
    ? T
    : never
}

export type Frame = { [Type in FrameType]: FrameOf<Type> }[FrameType]
export type JudgedFrame = FrameOf<"judged">
export type ResumableFrame = FrameOf<"resumable">
export type ResumingFrame = FrameOf<"resuming">
export type ListedFrame = FrameOf<"listed">

interface FrameCodec {
  readonly type: FrameType
  readonly fields: readonly (readonly [name: string, field: Field<unknown>])[]
  /** The size of the body, without its text. */
  readonly size: number
  readonly hasText: boolean
}

const codecs: ReadonlyMap<number, FrameCodec> = new Map(
  (Object.keys(FIELDS) as FrameType[]).map((type) => {
    const fields = Object.entries(FIELDS[type]) as [string, Field<unknown>][]
    const size = fields.reduce((sum, [, field]) => sum + field.size, 0)
    return [CODES[type], { type, fields, size, hasText: fields.at(-1)?.[1] === text }]
  }),
)

/** The frame without the file that follows an ltx frame. */
export function encodeFrame(frame: Frame): Uint8Array {
  const code = CODES[frame.type]
  const w = new ByteWriter(MAX_FRAME_SIZE)
  w.u32(code)
  for (const [name, field] of codecOf(code).fields) field.write(w, frame[name as keyof Frame])
  return w.finish()
}

/** Decodes a frame from exactly these bytes. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const r = new ByteReader(bytes, "stream frame")
  const { type, fields } = codecOf(r.u32())
  const frame: Record<string, unknown> = { type }
  for (const [name, field] of fields) frame[name] = field.read(r)
  r.end()
  return frame as Frame
}

/** The size of the frame that begins with these bytes, as far as they tell: at least this much. */
export function leastFrameSize(bytes: Uint8Array): number {
  if (bytes.length < TYPE_SIZE) return TYPE_SIZE
  const codec = codecOf(readU32BE(bytes, 0))
  const size = TYPE_SIZE + codec.size
  if (!codec.hasText || bytes.length < size) return size
  const textSize = readU32BE(bytes, size - TEXT_LENGTH_SIZE)
  if (textSize > MAX_FRAME_TEXT_SIZE) {
    const limit = `expected at most ${MAX_FRAME_TEXT_SIZE}`
    throw new RangeError(`Cannot decode stream frame: a text of ${textSize} bytes, ${limit}`)
  }
  return size + textSize
}

function codecOf(code: number): FrameCodec {
  const codec = codecs.get(code)
  if (codec !== undefined) return codec
  throw new RangeError(`Cannot decode stream frame: unknown type 0x${code.toString(16)}`)
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
