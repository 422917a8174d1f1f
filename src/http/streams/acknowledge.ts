/**
 * `POST /acknowledge?stream=TOKEN`: a replica tells what it has durably (cluster/replica/acknowledger.ts), while it
 * listens to the stream that the token belongs to. The answer comes at the end: 200 when the stream is over.
 *
 * A replica that tells and tells has to wait: everything else of this thread has its turn in between, and so do the
 * acknowledgements of the others.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { SyncReplicas } from "../../cluster/sync-replicas.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { randomBytes } from "../../lib/random-bytes.ts"
import { RateLimit } from "../../lib/rate-limit.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"
import { StreamDecoder } from "../../wire/stream-decoder.ts"
import { checkRouteQuery } from "../server/routes.ts"
import type { ReplicaStream } from "./replica-stream.ts"

/** Frames per second of a stream's replica. With as many databases as there can be, the first ones take half a second. */
const FRAME_RATE_MAX = 32_768
/** After this many, everything else of this thread has its turn. */
const TURN_FRAME_COUNT = 1024
/** Bytes that are decoded at a time: the smallest frame has 12. */
const SLICE_SIZE = 8 * 1024

interface AcknowledgedStream {
  readonly stream: ReplicaStream
  readonly rate: RateLimit
}

/** Streams whose replicas may acknowledge, by their tokens. */
export class AcknowledgedStreams {
  readonly #sync: SyncReplicas
  readonly #clock: Clock
  readonly #streams = new Map<string, AcknowledgedStream>()

  constructor(sync: SyncReplicas, clock: Clock) {
    this.#sync = sync
    this.#clock = clock
  }

  /** The token of a stream that is about to begin; undefined when nobody waits for replicas. */
  makeToken(): string | undefined {
    return this.#sync.isOn ? randomBytes(16).toString("hex") : undefined
  }

  /** Call the result when the stream has ended. */
  begin(token: string, stream: ReplicaStream): () => void {
    this.#streams.set(token, { stream, rate: new RateLimit(this.#clock, FRAME_RATE_MAX) })
    return () => this.#streams.delete(token)
  }

  async handle(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    checkRouteQuery(url, "POST /acknowledge")
    const known = this.#streams.get(url.searchParams.get("stream") ?? "")
    const { id, name } = known?.stream.replica ?? {}
    if (known === undefined || id === undefined || name === undefined) {
      throw new LitefsError("not-found", "Cannot take acknowledgements: there is no such stream")
    }
    const { stream, rate } = known
    const joined = this.#sync.join({ id, name, isWanted: (database) => stream.isWanted(database) })
    void stream.ended.then(() => {
      joined.leave()
      request.destroy()
    })
    let frameCount = 0 // of this turn
    const decoder = new StreamDecoder({
      frame(frame) {
        frameCount += 1
        if (frame.type === "heartbeat") return joined.alive()
        if (frame.type !== "acknowledged") {
          throw new RangeError(`a ${frame.type} frame is none, acknowledged frames are expected`)
        }
        validateDatabaseName(frame.database)
        joined.acknowledge(frame.database, frame.pos)
      },
      ltxData() {},
      ltxEnd() {},
    })
    try {
      for await (const part of request) {
        const bytes = part as Uint8Array
        for (let at = 0; at < bytes.length; at += SLICE_SIZE) {
          decoder.push(bytes.subarray(at, at + SLICE_SIZE))
          if (frameCount < TURN_FRAME_COUNT) continue
          await sleep(this.#clock, 0)
          await rate.take(frameCount)
          frameCount = 0
        }
      }
    } catch (error) {
      if (!(error instanceof RangeError)) return // the connection has ended, as a replica does
      throw new LitefsError("usage", `Cannot take acknowledgements: ${messageOf(error)}`)
    } finally {
      joined.leave()
    }
    response.end()
  }
}
