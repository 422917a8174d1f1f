/**
 * `POST /stream`: a replica tells where its databases are and gets everything that follows, for as long as it listens
 * (replica-stream.ts).
 *
 * A slow replica holds up only its own connection: the next part is read from the disk when it has taken the last
 * (server/body-writer.ts). A replica that takes nothing for STALL_MS_MAX, because it hangs or has vanished, is given up,
 * so that no LTX files are kept for it.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"
import { isNodeUrl } from "../../wire/node-url.ts"
import { decodePositionMap, MAX_POSITION_MAP_SIZE } from "../../wire/position-map.ts"
import {
  ACKNOWLEDGE_HEADER,
  ACKNOWLEDGES_HEADER,
  ADVERTISE_URL_HEADER,
  CANDIDATE_HEADER,
  headerOf,
  PROTOCOL,
  PROTOCOL_HEADER,
  protocolProblem,
} from "../../wire/protocol.ts"
import { type BodyLimits, readBody } from "../server/body.ts"
import { BodyWriter } from "../server/body-writer.ts"
import { RequestLog, senderOf } from "../server/request-log.ts"
import type { AcknowledgedStreams } from "./acknowledge.ts"
import { ReplicaStream, type ReplicaStreamContext, type StreamReplica } from "./replica-stream.ts"
import { wantsOf } from "./replica-wants.ts"

const log = logger("stream")
const cutLog = new RequestLog("stream")

export const STALL_MS_MAX = 30_000

const REQUEST_LIMITS: BodyLimits = { sizeMax: MAX_POSITION_MAP_SIZE, timeMs: 10_000 }

export interface StreamContext extends ReplicaStreamContext {
  /** How long a replica may take nothing of what is sent. */
  readonly stallMs: number
  readonly streams: Set<ReplicaStream>
  /** Streams whose replicas tell what they have durably. */
  readonly acknowledged?: AcknowledgedStreams
  /** For streams that are not read; undefined: that of the process. */
  readonly cutLog?: RequestLog
}

export async function handleStream(
  context: StreamContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.destroyed) throw new LitefsError("unavailable", "the replica has gone")
  const wants = wantsOf(request)
  const { socket } = request // undefined once its client has gone
  response.setHeader(PROTOCOL_HEADER, PROTOCOL)
  const problem = protocolProblem(headerOf(request.headers, PROTOCOL_HEADER))
  if (problem !== undefined) throw new LitefsError("unavailable", `Cannot replicate: ${problem}`)
  const known = decodePositionMap(await readBody(request, REQUEST_LIMITS, context.clock))
  for (const name of known.keys()) validateDatabaseName(name)
  const canTell = headerOf(request.headers, ACKNOWLEDGES_HEADER) === "1"
  const token = canTell ? context.acknowledged?.makeToken() : undefined
  if (token !== undefined) response.setHeader(ACKNOWLEDGE_HEADER, token)
  response.writeHead(200, { "Content-Type": "application/octet-stream" })
  response.flushHeaders()
  const about = replicaOf(request, socket, context.clock.wallMs())
  const replica = about.name
  const sender = senderOf(request)
  const { from } = sender
  log.info("replica connected", { replica, from, databases: known.size })
  const onCut = (problem: string) =>
    (context.cutLog ?? cutLog).say("warn", "ended a stream that is not read", sender, { problem })
  const { clock, stallMs } = context
  const body = new BodyWriter(response, socket, { clock, stallMs, onCut })
  const stream = new ReplicaStream(context, body, known, wants, about)
  context.streams.add(stream)
  const unname = token === undefined ? undefined : context.acknowledged?.begin(token, stream)
  try {
    await stream.run()
  } finally {
    context.streams.delete(stream)
    unname?.()
    stream.close()
    log.info("replica disconnected", { replica, from })
  }
}

function replicaOf(
  { headers }: IncomingMessage,
  socket: IncomingMessage["socket"],
  connectedMs: number,
): StreamReplica {
  const name = headerOf(headers, "litefs-hostname") ?? socket.remoteAddress ?? "unknown"
  const url = headerOf(headers, ADVERTISE_URL_HEADER)
  return {
    ...{ id: headerOf(headers, "litefs-id"), name, connectedMs },
    url: url !== undefined && isNodeUrl(url) ? url : undefined,
    isCandidate: headerOf(headers, CANDIDATE_HEADER) === "1",
  }
}
