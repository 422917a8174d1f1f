/**
 * `POST /acknowledge?stream=TOKEN`: a replica tells what it has durably (cluster/replica/acknowledger.ts), while it
 * listens to the stream that the token belongs to. The answer comes at the end: 200 when the stream is over.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { SyncReplicas } from "../../cluster/sync-replicas.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { randomBytes } from "../../lib/random-bytes.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"
import { StreamDecoder } from "../../wire/stream-decoder.ts"
import { checkRouteQuery } from "../server/routes.ts"
import type { ReplicaStream } from "./replica-stream.ts"

/** Streams whose replicas may acknowledge, by their tokens. */
export class AcknowledgedStreams {
  readonly #sync: SyncReplicas
  readonly #streams = new Map<string, ReplicaStream>()

  constructor(sync: SyncReplicas) {
    this.#sync = sync
  }

  /** The token of a stream that is about to begin; undefined when nobody waits for replicas. */
  makeToken(): string | undefined {
    return this.#sync.isOn ? randomBytes(16).toString("hex") : undefined
  }

  /** Call the result when the stream has ended. */
  begin(token: string, stream: ReplicaStream): () => void {
    this.#streams.set(token, stream)
    return () => this.#streams.delete(token)
  }

  async handle(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    checkRouteQuery(url, "POST /acknowledge")
    const stream = this.#streams.get(url.searchParams.get("stream") ?? "")
    const { id, name } = stream?.replica ?? {}
    if (stream === undefined || id === undefined || name === undefined) {
      throw new LitefsError("not-found", "Cannot take acknowledgements: there is no such stream")
    }
    const joined = this.#sync.join({ id, name, isWanted: (database) => stream.isWanted(database) })
    void stream.ended.then(() => {
      joined.leave()
      request.destroy()
    })
    const decoder = new StreamDecoder({
      frame(frame) {
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
      for await (const part of request) decoder.push(part as Uint8Array)
    } catch (error) {
      if (!(error instanceof RangeError)) return // the connection has ended, as a replica does
      throw new LitefsError("usage", `Cannot take acknowledgements: ${messageOf(error)}`)
    } finally {
      joined.leave()
    }
    response.end()
  }
}
