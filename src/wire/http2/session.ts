/**
 * One side of an HTTP/2 connection (RFC 9113): it takes bytes and gives bytes, and knows no socket. Both sides are here,
 * as far as nodes need them: no push, no priorities, no table of headers.
 *
 *   a stream: open ── end() ──▶ all is sent ─┐
 *               └──── onEnd ──▶ all has come ┴──▶ over;   reset(), onReset: over at once
 *
 * What the other side may do here is bounded, whoever it is:
 *
 *   streams at a time          `streamCountMax`; one counts until leave(), when its request is no longer worked on
 *   bytes that nobody reads    the windows: of a stream, and of all together
 *   bytes that it does not read    QUEUED_SIZE_MAX, then its requests are refused; QUEUED_SIZE_LIMIT, STALL_MS
 *   a block of headers         BLOCK_SIZE_MAX in BLOCK_FRAME_COUNT_MAX frames, within BLOCK_MS; FIELDS_SIZE_MAX decoded
 *   frames that carry nothing, requests that are taken back, updates of windows: an allowance each (Allowance)
 *
 * A side that goes too far is told so with GOAWAY, and hears no more.
 */
import { readU16BE, readU32BE } from "../../lib/bytes.ts"
import { Allowance } from "./allowance.ts"
import {
  ErrorCode,
  encodeHttp2Frame,
  encodeSettings,
  Flag,
  FrameReader,
  FrameType,
  Http2Error,
  type Http2Frame,
  PAYLOAD_SIZE_MAX,
  PREFACE,
  Setting,
  u32Of,
  WINDOW_SIZE,
  WINDOW_SIZE_MAX,
} from "./frames.ts"
import { encodeFields, type Field, HpackDecoder } from "./hpack.ts"
import { type RequestHead, type ResponseHead, requestOf, responseOf } from "./messages.ts"

/** As `node:http` takes. */
const FIELDS_SIZE_MAX = 16 * 1024
const BLOCK_SIZE_MAX = 32 * 1024
const BLOCK_FRAME_COUNT_MAX = 8
const BLOCK_MS = 10_000

/** Of answers that wait for the other side to read. */
const QUEUED_SIZE_MAX = 4 * 1024 * 1024
/** More are given up, but for a single one. */
const QUEUED_SIZE_LIMIT = 4 * QUEUED_SIZE_MAX
/** An answer of which nothing is taken for so long is given up, and a connection. */
const STALL_MS = 60_000

/** [at once, each second] */
const IDLE_FRAMES = [500, 100] as const
const TAKEN_BACK = [100, 10] as const
const UPDATES = [2000, 200] as const
/** Bytes that are sent for an update of a window: Go sends two for every 4 KiB that it has read. */
const BYTES_PER_UPDATE = 512
/** Settings that count as one frame. */
const SETTINGS_PER_FRAME = 16

export interface SessionLimits {
  /** That the other side may open. */
  readonly streamCountMax: number
  /** Bytes that may come for a stream before they are read. */
  readonly streamWindow: number
  /** The same for all streams together. */
  readonly window: number
}

export interface SessionOwner {
  nowMs(): number
  /** Returns whether the connection takes more at once. If not, drained() has to follow. */
  send(bytes: Uint8Array): boolean
  /** A request. Its bytes, and its end, come to `stream.reader`. */
  onRequest?(stream: Http2Stream, head: RequestHead): void
  /** There is nothing more to do for it: the connection is to be closed. `problem`: why, unless all is well. */
  onOver(problem: string | undefined): void
}

/** Who gets what comes on a stream. */
export interface StreamReader {
  onHead?(head: ResponseHead): void
  /** It owns the bytes, and tells consumed() when it has used them. */
  onData(bytes: Uint8Array): void
  onEnd(): void
  /** No more comes, and nothing more is sent. */
  onReset(code: number): void
  /** All that was written is on its way. */
  onRoom(): void
}

export class Http2Session {
  readonly #isServer: boolean
  readonly #owner: SessionOwner
  readonly #limits: SessionLimits
  readonly #frames = new FrameReader()
  readonly #hpack = new HpackDecoder(FIELDS_SIZE_MAX)
  readonly #streams = new Map<number, Http2Stream>()
  readonly #unsent = new Set<Http2Stream>()
  #busyCount = 0 // of streams that the other side has opened
  #prefaceSize = 0 // that has come
  #hasSettings = false
  #lastStream = 0
  #block: HeaderBlock | undefined
  #isFull = false // the connection takes nothing for now
  #fullSinceMs = 0
  #isLeaving = false
  #isOver = false
  #sendWindow = WINDOW_SIZE
  #streamSendWindow = WINDOW_SIZE
  #receiveWindow: number
  #consumed = 0 // bytes that the other side has not heard of
  readonly #idleFrames: Allowance
  readonly #takenBack: Allowance
  readonly #updates: Allowance

  constructor(side: "server" | "client", limits: SessionLimits, owner: SessionOwner) {
    this.#isServer = side === "server"
    this.#owner = owner
    this.#limits = limits
    this.#receiveWindow = limits.window
    const nowMs = owner.nowMs()
    this.#idleFrames = new Allowance(...IDLE_FRAMES, nowMs)
    this.#takenBack = new Allowance(...TAKEN_BACK, nowMs)
    this.#updates = new Allowance(...UPDATES, nowMs)
    this.#greet()
  }

  get isOver(): boolean {
    return this.#isOver
  }

  #greet(): void {
    const { streamCountMax, streamWindow, window } = this.#limits
    const settings: [number, number][] = [
      [Setting.INITIAL_WINDOW_SIZE, streamWindow],
      [Setting.MAX_HEADER_LIST_SIZE, FIELDS_SIZE_MAX],
    ]
    if (this.#isServer) settings.push([Setting.MAX_CONCURRENT_STREAMS, streamCountMax])
    else {
      this.#send(PREFACE)
      settings.push([Setting.ENABLE_PUSH, 0])
    }
    this.#send(encodeSettings(settings))
    const more = window - WINDOW_SIZE
    if (more > 0) this.#send(encodeHttp2Frame(FrameType.WINDOW_UPDATE, 0, 0, u32Of(more)))
  }

  /** A request of this side, a client. */
  request(fields: readonly Field[], isWhole: boolean, reader: StreamReader): Http2Stream {
    const id = this.#lastStream + (this.#lastStream === 0 ? 1 : 2)
    this.#lastStream = id
    const stream = this.#begin(id)
    stream.reader = reader
    stream.head(fields, isWhole)
    return stream
  }

  /** What has come. */
  receive(bytes: Uint8Array): void {
    if (this.#isOver) return
    try {
      this.#frames.push(this.#isServer ? this.#withoutPreface(bytes) : bytes, (frame) => {
        if (!this.#isOver) this.#handle(frame)
      })
    } catch (error) {
      if (error instanceof Http2Error) return this.#fail(error.code, error.message)
      if (error instanceof RangeError) return this.#fail(ErrorCode.COMPRESSION_ERROR, error.message)
      throw error
    }
  }

  #withoutPreface(bytes: Uint8Array): Uint8Array {
    const rest = PREFACE.length - this.#prefaceSize
    if (rest === 0) return bytes
    const part = bytes.subarray(0, rest)
    const expected = PREFACE.subarray(this.#prefaceSize, this.#prefaceSize + part.length)
    if (!expected.equals(part)) throw protocolError("a preface of another protocol")
    this.#prefaceSize += part.length
    return bytes.subarray(part.length)
  }

  /** The connection takes more. */
  drained(): void {
    if (!this.#isFull) return
    this.#isFull = false
    this.#flush()
  }

  /** Ends what has hung for too long. Call it about every second. */
  check(): void {
    if (this.#isOver) return
    const nowMs = this.#owner.nowMs()
    if (this.#block !== undefined && nowMs - this.#block.sinceMs > BLOCK_MS) {
      return this.#fail(ErrorCode.ENHANCE_YOUR_CALM, "its headers do not end")
    }
    if (this.#isFull && nowMs - this.#fullSinceMs > STALL_MS) {
      return this.#fail(ErrorCode.ENHANCE_YOUR_CALM, `it takes nothing for ${STALL_MS} ms`)
    }
    for (const stream of [...this.#unsent]) {
      if (nowMs - stream.takenMs > STALL_MS) stream.reset(ErrorCode.CANCEL)
    }
  }

  /** Tells the other side to open no more streams. The connection is over when those that are open are. */
  leave(): void {
    if (this.#isLeaving || this.#isOver) return
    this.#isLeaving = true
    this.#sendGoAway(ErrorCode.NO_ERROR)
    this.#finish()
  }

  /** The connection is closed. */
  closed(): void {
    this.#isOver = true
    this.#isFull = true
    for (const stream of [...this.#streams.values()]) this.#forget(stream, ErrorCode.CANCEL)
  }

  #finish(): void {
    if (!this.#isLeaving || this.#streams.size > 0 || this.#isOver) return
    this.#isOver = true
    this.#owner.onOver(undefined)
  }

  #fail(code: number, problem: string): void {
    if (this.#isOver) return
    this.#sendGoAway(code)
    this.closed()
    this.#owner.onOver(problem)
  }

  #sendGoAway(code: number): void {
    const last = this.#isServer ? this.#lastStream : 0
    const payload = Buffer.concat([u32Of(last), u32Of(code)])
    this.#send(encodeHttp2Frame(FrameType.GOAWAY, 0, 0, payload))
  }

  #send(bytes: Uint8Array): void {
    if (this.#isOver || this.#owner.send(bytes)) return
    if (!this.#isFull) this.#fullSinceMs = this.#owner.nowMs()
    this.#isFull = true
  }

  // ── what comes ──

  #handle(frame: Http2Frame): void {
    const { type, flags, stream: id, payload } = frame
    if (!this.#hasSettings && (type !== FrameType.SETTINGS || flags & Flag.ACK)) {
      throw protocolError("a beginning without settings")
    }
    if (this.#block !== undefined && (type !== FrameType.CONTINUATION || id !== this.#block.id)) {
      throw protocolError("another frame within headers")
    }
    switch (type) {
      case FrameType.DATA:
        return this.#handleData(frame)
      case FrameType.HEADERS:
        return this.#handleHeaders(frame)
      case FrameType.CONTINUATION:
        return this.#handleContinuation(frame)
      case FrameType.SETTINGS:
        return this.#handleSettings(frame)
      case FrameType.WINDOW_UPDATE:
        return this.#handleUpdate(frame)
      case FrameType.RST_STREAM:
        return this.#handleReset(frame)
      case FrameType.PING:
        if (id !== 0 || payload.length !== 8) throw sizeError("a ping")
        this.#takeIdle()
        if (!(flags & Flag.ACK)) this.#send(encodeHttp2Frame(FrameType.PING, Flag.ACK, 0, payload))
        return
      case FrameType.GOAWAY:
        if (id !== 0 || payload.length < 8) throw sizeError("a goodbye")
        this.#takeIdle()
        this.#handleGoAway(readU32BE(payload, 0) & WINDOW_SIZE_MAX, readU32BE(payload, 4))
        return
      case FrameType.PUSH_PROMISE:
        throw protocolError("a push, which nobody has asked for")
      case FrameType.PRIORITY:
        if (payload.length !== 5) throw sizeError("a priority")
        return this.#takeIdle()
      default:
        return this.#takeIdle() // an extension
    }
  }

  #takeIdle(count = 1): void {
    if (!this.#idleFrames.take(count, this.#owner.nowMs())) throw tooMuch("frames without a use")
  }

  #takeBack(): void {
    if (!this.#takenBack.take(1, this.#owner.nowMs())) throw tooMuch("requests that are of no use")
  }

  #handleData({ flags, stream: id, payload }: Http2Frame): void {
    this.#checkBegun(id, "data")
    this.#receiveWindow -= payload.length
    if (this.#receiveWindow < 0) throw windowError("more than fits in the window")
    const data = unpadded(flags, payload)
    const stream = this.#streams.get(id)
    const isEnd = (flags & Flag.END_STREAM) !== 0
    if (data.length === 0 && !isEnd) this.#takeIdle()
    if (stream === undefined || stream.hasCome) {
      this.consumed(payload.length)
      return this.#takeIdle()
    }
    stream.received(data, payload.length, isEnd)
  }

  #handleHeaders({ flags, stream: id, payload }: Http2Frame): void {
    if (id === 0) throw protocolError("headers of no stream")
    let block = unpadded(flags, payload)
    if (flags & Flag.PRIORITY) {
      if (block.length < 5) throw sizeError("headers")
      block = block.subarray(5)
    }
    const isEnd = (flags & Flag.END_STREAM) !== 0
    this.#block = { id, isEnd, parts: [], size: 0, sinceMs: this.#owner.nowMs() }
    this.#addToBlock(this.#block, block, flags)
  }

  #handleContinuation({ flags, payload }: Http2Frame): void {
    if (this.#block === undefined) throw protocolError("the rest of no headers")
    this.#addToBlock(this.#block, payload, flags)
  }

  #addToBlock(block: HeaderBlock, part: Uint8Array, flags: number): void {
    block.parts.push(part)
    block.size += part.length
    if (block.size > BLOCK_SIZE_MAX || block.parts.length > BLOCK_FRAME_COUNT_MAX) {
      throw tooMuch("headers")
    }
    if (!(flags & Flag.END_HEADERS)) return
    this.#block = undefined
    const { fields, isTooLarge } = this.#hpack.decode(Buffer.concat(block.parts))
    this.#handleFields(block.id, fields, isTooLarge, block.isEnd)
  }

  #handleFields(id: number, fields: readonly Field[], isTooLarge: boolean, isEnd: boolean): void {
    const stream = this.#streams.get(id)
    if (stream !== undefined) return this.#handleMore(stream, fields, isTooLarge, isEnd)
    if (!this.#isServer) return this.#takeIdle() // of a stream that is over
    if (id % 2 === 0) throw protocolError("a stream with an even number")
    if (id <= this.#lastStream) return this.#takeIdle() // likewise
    this.#lastStream = id
    const isRefused =
      this.#busyCount >= this.#limits.streamCountMax || this.#queuedSize > QUEUED_SIZE_MAX
    if (this.#isLeaving || isRefused) {
      this.#takeBack()
      return this.#sendReset(id, ErrorCode.REFUSED_STREAM)
    }
    const head = isTooLarge ? undefined : requestOf(fields)
    if (head === undefined) {
      this.#takeBack()
      if (!isTooLarge) return this.#sendReset(id, ErrorCode.PROTOCOL_ERROR)
    }
    this.#busyCount += 1
    const began = this.#begin(id)
    if (isEnd) began.endsWithHead()
    if (head === undefined) began.head([[":status", "431"]], true)
    else began.expect(head.size)
    if (head !== undefined && !began.isOver) return this.#owner.onRequest?.(began, head)
    began.reset(ErrorCode.NO_ERROR)
    began.leave()
  }

  /** The head of a response, or what follows after a body. */
  #handleMore(
    stream: Http2Stream,
    fields: readonly Field[],
    isTooLarge: boolean,
    isEnd: boolean,
  ): void {
    if (stream.hasCome || isTooLarge) return stream.refuse()
    if (this.#isServer || stream.hasHead) {
      if (!isEnd) return stream.refuse()
      return stream.received(new Uint8Array(0), 0, true)
    }
    const head = responseOf(fields)
    if (head === undefined) return stream.refuse()
    if (head.status < 200) return this.#takeIdle()
    stream.hasHead = true
    stream.reader?.onHead?.(head)
    if (isEnd) stream.received(new Uint8Array(0), 0, true)
  }

  get #queuedSize(): number {
    let size = 0
    for (const stream of this.#unsent) size += stream.queuedSize
    return size
  }

  #handleSettings({ flags, stream, payload }: Http2Frame): void {
    if (stream !== 0 || payload.length % 6 !== 0) throw sizeError("settings")
    this.#takeIdle(1 + Math.floor(payload.length / 6 / SETTINGS_PER_FRAME))
    if (flags & Flag.ACK) {
      if (payload.length > 0) throw sizeError("settings")
      return
    }
    this.#hasSettings = true
    for (let at = 0; at < payload.length; at += 6) {
      this.#set(readU16BE(payload, at), readU32BE(payload, at + 2))
    }
    this.#send(encodeHttp2Frame(FrameType.SETTINGS, Flag.ACK, 0))
    this.#flush()
  }

  #set(identifier: number, value: number): void {
    if (identifier === Setting.MAX_FRAME_SIZE) {
      if (value < PAYLOAD_SIZE_MAX || value >= 2 ** 24) throw protocolError("a size of frames")
    }
    if (identifier !== Setting.INITIAL_WINDOW_SIZE) return
    if (value > WINDOW_SIZE_MAX) throw windowError("a window over 2^31 - 1")
    const more = value - this.#streamSendWindow
    this.#streamSendWindow = value
    for (const stream of this.#streams.values()) {
      stream.sendWindow += more
      if (stream.sendWindow > WINDOW_SIZE_MAX) throw windowError("a window over 2^31 - 1")
    }
  }

  #handleUpdate({ stream: id, payload }: Http2Frame): void {
    if (payload.length !== 4) throw sizeError("an update of a window")
    const more = readU32BE(payload, 0) & WINDOW_SIZE_MAX
    if (!this.#updates.take(1, this.#owner.nowMs())) throw tooMuch("updates of windows")
    if (id === 0) {
      if (more === 0) throw protocolError("an update of a window by 0")
      this.#sendWindow += more
      if (this.#sendWindow > WINDOW_SIZE_MAX) throw windowError("a window over 2^31 - 1")
      return this.#flush()
    }
    this.#checkBegun(id, "an update of a window")
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.sendWindow += more
    if (more === 0 || stream.sendWindow > WINDOW_SIZE_MAX) return stream.refuse()
    this.#flush()
  }

  #handleReset({ stream: id, payload }: Http2Frame): void {
    if (payload.length !== 4) throw sizeError("a reset")
    this.#checkBegun(id, "a reset")
    const stream = this.#streams.get(id)
    if (stream === undefined) return this.#takeIdle()
    if (this.#isServer) this.#takeBack()
    this.#forget(stream, readU32BE(payload, 0))
  }

  /** The other side opens no more streams, and has not seen those of this side after `last`. */
  #handleGoAway(last: number, code: number): void {
    if (this.#isServer) return
    for (const [id, stream] of [...this.#streams]) if (id > last) this.#forget(stream, code)
  }

  #checkBegun(id: number, what: string): void {
    if (id === 0 || id > this.#lastStream || id % 2 === 0) {
      throw protocolError(`${what} of a stream that there is not`)
    }
  }

  // ── for streams ──

  #begin(id: number): Http2Stream {
    const { streamWindow } = this.#limits
    const nowMs = this.#owner.nowMs()
    const stream = new Http2Stream(id, streamWindow, this.#streamSendWindow, nowMs, {
      send: (bytes) => this.#send(bytes),
      wantsToSend: (each) => {
        const isCrowded = this.#unsent.size > 1 && this.#queuedSize > QUEUED_SIZE_LIMIT
        if (isCrowded) return each.reset(ErrorCode.ENHANCE_YOUR_CALM)
        each.takenMs = this.#unsent.has(each) ? each.takenMs : this.#owner.nowMs()
        this.#unsent.add(each)
        this.#flush()
      },
      reset: (each, code) => {
        this.#sendReset(each.id, code)
        this.#forget(each, code)
      },
      refuse: (each) => {
        this.#sendReset(each.id, ErrorCode.PROTOCOL_ERROR)
        this.#forget(each, ErrorCode.PROTOCOL_ERROR)
        if (this.#isServer) this.#takeBack()
      },
      consumed: (size) => this.consumed(size),
      over: (each) => this.#forget(each, undefined),
      left: () => {
        this.#busyCount -= 1
      },
    })
    this.#streams.set(id, stream)
    return stream
  }

  /** It is over; with a code, before its end. */
  #forget(stream: Http2Stream, code: number | undefined): void {
    if (!this.#streams.delete(stream.id)) return
    this.#unsent.delete(stream)
    stream.forgotten(code)
    this.#finish()
  }

  #sendReset(id: number, code: number): void {
    this.#send(encodeHttp2Frame(FrameType.RST_STREAM, 0, id, u32Of(code)))
  }

  /** Bytes of data that have been used, or dropped. */
  consumed(size: number): void {
    this.#consumed += size
    if (this.#consumed < this.#limits.window / 2 || this.#isOver) return
    this.#receiveWindow += this.#consumed
    this.#send(encodeHttp2Frame(FrameType.WINDOW_UPDATE, 0, 0, u32Of(this.#consumed)))
    this.#consumed = 0
  }

  /** Sends what there is, a frame of each stream in turn, as far as windows and connection take it. */
  #flush(): void {
    const emptied: Http2Stream[] = []
    for (let isMoving = true; isMoving && !this.#isFull && !this.#isOver; ) {
      isMoving = false
      for (const stream of [...this.#unsent]) {
        if (this.#isFull) break
        const sent = stream.sendPart(this.#sendWindow)
        if (sent === undefined) continue
        isMoving = true
        this.#sendWindow -= sent
        stream.takenMs = this.#owner.nowMs()
        this.#updates.earn(2 + sent / BYTES_PER_UPDATE)
        if (stream.hasUnsent) continue
        this.#unsent.delete(stream)
        emptied.push(stream)
      }
    }
    for (const stream of emptied) stream.wasSent()
  }
}

interface HeaderBlock {
  readonly id: number
  readonly isEnd: boolean
  readonly parts: Uint8Array[]
  size: number
  readonly sinceMs: number
}

/** What a stream needs of its session. */
interface StreamSession {
  send(bytes: Uint8Array): void
  wantsToSend(stream: Http2Stream): void
  reset(stream: Http2Stream, code: number): void
  refuse(stream: Http2Stream): void
  consumed(size: number): void
  over(stream: Http2Stream): void
  left(): void
}

export class Http2Stream {
  readonly id: number
  reader: StreamReader | undefined
  /** Of a request of this side: its response has begun. */
  hasHead = false
  sendWindow: number
  /** When something was sent last, or there was nothing to send. */
  takenMs: number
  readonly #session: StreamSession
  readonly #window: number
  #receiveWindow: number
  #consumed = 0 // bytes that the other side has not heard of
  #unread = 0
  #expected: number | undefined // bytes that are to come
  #queue: Uint8Array[] = []
  #queuedSize = 0
  #isEnding = false // after the queue
  #isEnded = false
  #hasCome = false
  #isOver = false
  #hasLeft = false

  constructor(
    id: number,
    window: number,
    sendWindow: number,
    nowMs: number,
    session: StreamSession,
  ) {
    this.id = id
    this.#window = window
    this.#receiveWindow = window
    this.sendWindow = sendWindow
    this.takenMs = nowMs
    this.#session = session
  }

  /** Whether everything of the other side is there. */
  get hasCome(): boolean {
    return this.#hasCome
  }

  /** Whether everything of this side is sent. */
  get hasEnded(): boolean {
    return this.#isEnded
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get queuedSize(): number {
    return this.#queuedSize
  }

  get hasUnsent(): boolean {
    return this.#queuedSize > 0 || (this.#isEnding && !this.#isEnded)
  }

  /** Sends the head of a request or a response. */
  head(fields: readonly Field[], isWhole: boolean): void {
    if (this.#isOver) return
    const block = encodeFields(fields)
    for (let at = 0; at === 0 || at < block.length; at += PAYLOAD_SIZE_MAX) {
      const part = block.subarray(at, at + PAYLOAD_SIZE_MAX)
      const type = at === 0 ? FrameType.HEADERS : FrameType.CONTINUATION
      const isLast = at + part.length === block.length
      const end = isWhole && at === 0 ? Flag.END_STREAM : 0
      const flags = (isLast ? Flag.END_HEADERS : 0) | end
      this.#session.send(encodeHttp2Frame(type, flags, this.id, part))
    }
    if (isWhole) this.#ended()
  }

  /** Returns whether all is on its way; if not, `reader.onRoom()` follows. */
  write(bytes: Uint8Array): boolean {
    if (this.#isOver || bytes.length === 0) return true
    this.#queue.push(bytes)
    this.#queuedSize += bytes.length
    this.#session.wantsToSend(this)
    return this.#queuedSize === 0
  }

  /** After everything that was written. */
  end(): void {
    if (this.#isOver || this.#isEnding) return
    this.#isEnding = true
    this.#session.wantsToSend(this)
  }

  reset(code: number): void {
    if (!this.#isOver) this.#session.reset(this, code)
  }

  refuse(): void {
    this.#session.refuse(this)
  }

  /** The reader has used so many bytes. What it has not used when the stream is over counts as used. */
  consumed(size: number): void {
    if (this.#isOver) return
    this.#unread -= size
    this.#session.consumed(size)
    this.#consumed += size
    if (this.#consumed < this.#window / 2 || this.#hasCome) return
    this.#receiveWindow += this.#consumed
    const update = encodeHttp2Frame(FrameType.WINDOW_UPDATE, 0, this.id, u32Of(this.#consumed))
    this.#consumed = 0
    this.#session.send(update)
  }

  /** Its request is no longer worked on: another may take its place when it is over. */
  leave(): void {
    if (this.#hasLeft) return
    this.#hasLeft = true
    if (this.#isOver) this.#session.left()
  }

  // ── for its session ──

  /** What the head says of the size of the body. */
  expect(size: number | undefined): void {
    this.#expected = size
    if (this.#hasCome && (size ?? 0) > 0) this.refuse()
  }

  endsWithHead(): void {
    this.#hasCome = true
  }

  /** `size` with the padding. */
  received(data: Uint8Array, size: number, isEnd: boolean): void {
    this.#receiveWindow -= size
    if (this.#receiveWindow < 0) throw windowError("more than fits in the window of a stream")
    this.#unread += size
    if (this.#expected !== undefined) this.#expected -= data.length
    const isWrong = this.#expected !== undefined && this.#expected < 0
    if (isWrong || (isEnd && (this.#expected ?? 0) !== 0)) return this.refuse()
    if (size > data.length) this.consumed(size - data.length)
    if (data.length > 0) {
      if (this.reader === undefined) this.consumed(data.length)
      else this.reader.onData(data)
    }
    if (!isEnd || this.#isOver) return
    this.#hasCome = true
    this.reader?.onEnd()
    if (this.#isEnded) this.#session.over(this)
  }

  /** Sends a frame of the queue. Returns its bytes of data; undefined when nothing can be sent. */
  sendPart(window: number): number | undefined {
    const [first] = this.#queue
    if (first === undefined) {
      if (!this.#isEnding || this.#isEnded) return undefined
      this.#session.send(encodeHttp2Frame(FrameType.DATA, Flag.END_STREAM, this.id))
      this.#ended()
      return 0
    }
    const size = Math.min(first.length, PAYLOAD_SIZE_MAX, this.sendWindow, window)
    if (size <= 0) return undefined
    if (size === first.length) this.#queue.shift()
    else this.#queue[0] = first.subarray(size)
    this.#queuedSize -= size
    this.sendWindow -= size
    const isLast = this.#isEnding && this.#queue.length === 0
    const flags = isLast ? Flag.END_STREAM : 0
    this.#session.send(encodeHttp2Frame(FrameType.DATA, flags, this.id, first.subarray(0, size)))
    if (isLast) this.#ended()
    return size
  }

  wasSent(): void {
    if (!this.#isOver || this.#isEnded) this.reader?.onRoom()
  }

  #ended(): void {
    this.#isEnding = true
    this.#isEnded = true
    if (this.#hasCome) this.#session.over(this)
  }

  forgotten(code: number | undefined): void {
    this.#isOver = true
    this.#queue = []
    this.#queuedSize = 0
    if (this.#unread > 0) this.#session.consumed(this.#unread)
    this.#unread = 0
    if (this.#hasLeft) this.#session.left()
    if (code !== undefined) this.reader?.onReset(code)
  }
}

/** Without what was added to hide its size. */
function unpadded(flags: number, payload: Uint8Array): Uint8Array {
  if (!(flags & Flag.PADDED)) return payload
  const [size = payload.length] = payload
  if (size >= payload.length) throw protocolError("more padding than there is")
  return payload.subarray(1, payload.length - size)
}

function protocolError(what: string): Http2Error {
  return new Http2Error(ErrorCode.PROTOCOL_ERROR, `it has sent ${what}`)
}

function sizeError(what: string): Http2Error {
  return new Http2Error(ErrorCode.FRAME_SIZE_ERROR, `it has sent ${what} of another size`)
}

function windowError(what: string): Http2Error {
  return new Http2Error(ErrorCode.FLOW_CONTROL_ERROR, `it has sent ${what}`)
}

function tooMuch(what: string): Http2Error {
  return new Http2Error(ErrorCode.ENHANCE_YOUR_CALM, `it has sent too many ${what}`)
}
