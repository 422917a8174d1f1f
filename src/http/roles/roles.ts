/**
 * The routes by which the role of primary moves.
 *
 *   POST /lease                      has two nodes hear the record of each other: that is all it does
 *   POST /promote                    on a replica: asks the primary for a handoff. 200 when this node is the primary
 *   POST /promote?force=true         on a replica: makes this node the primary without asking; says what may be lost
 *   POST /handoff?nodeID=HEX         on the primary: gives the role to a replica that is connected
 *   POST /handoff?token=TOKEN        of the target, when it has applied all; the body is its position map
 *
 * Every one of them answers with the lease record in its headers, as all routes do (http/server/server.ts): with the one
 * that there is when the answer begins.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Handoffs } from "../../cluster/role/handoffs.ts"
import { LEASE_PATH } from "../../cluster/role/lease.ts"
import type { Member } from "../../cluster/role/member.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { decodePositionMap, MAX_POSITION_MAP_SIZE } from "../../wire/position-map.ts"
import { readBody } from "../server/body.ts"
import { RequestLog, senderOf } from "../server/request-log.ts"
import { type ApiRoutes, checkRouteQuery } from "../server/routes.ts"

export interface RolesContext {
  readonly member: Member
  readonly handoffs: Handoffs
  readonly clock: Clock
}

const BODY_LIMITS = { sizeMax: MAX_POSITION_MAP_SIZE, timeMs: 10_000 }

export function roleRoutes(given: RolesContext): ApiRoutes {
  const context = { ...given, log: new RequestLog("member", given.clock) }
  return {
    [LEASE_PATH]: { POST: (_, response) => void response.end() },
    "/promote": {
      POST: (request, response, url) => handlePromote(context, request, response, url),
    },
    "/handoff": {
      POST: (request, response, url) => handleHandoff(context, request, response, url),
    },
  }
}

interface LoggedRoles extends RolesContext {
  readonly log: RequestLog
}

async function handlePromote(
  { member, handoffs, log }: LoggedRoles,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "POST /promote")
  const isForced = url.searchParams.get("force") === "true"
  if (member.state === "primary") return void response.end()
  const problem = handoffs.ineligibility(isForced)
  if (problem !== undefined) return conflict(response, problem)
  if (!isForced) {
    const sender = senderOf(request)
    try {
      await handoffs.promote()
    } catch (error) {
      log.say("warn", "cannot become the primary", sender, { problem: messageOf(error) })
      throw error
    }
    return void response.end()
  }
  const loss = handoffs.possibleLoss()
  const unreachable = handoffs.unreachable() // a primary that is gone must not wait for it
  await member.force()
  const hidden = await unreachable
  response.setHeader("Content-Type", "text/plain; charset=utf-8")
  response.end(
    hidden === undefined ? loss : `${loss}Other nodes may not be able to follow it: ${hidden}\n`,
  )
}

async function handleHandoff(
  { member, handoffs, clock, log }: LoggedRoles,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "POST /handoff")
  const token = url.searchParams.get("token")
  if (token !== null) {
    member.checkOffer(token)
    const positions = decodePositionMap(await readBody(request, BODY_LIMITS, clock))
    await member.accept(token, positions)
    return void response.end()
  }
  const id = url.searchParams.get("nodeID") ?? ""
  if (!/^[0-9a-f]{1,16}$/i.test(id)) throw new LitefsError("usage", "invalid node id")
  if (!member.isPrimary) throw refused("node is not currently primary")
  const found = handoffs.target(id.toUpperCase().padStart(16, "0"))
  if (found === undefined) throw refused("target node is not currently connected, or no candidate")
  const sender = senderOf(request)
  try {
    await handoffs.handOff(found)
  } catch (error) {
    const problem = messageOf(error)
    log.say("warn", "cannot hand the role of primary over", sender, {
      ...{ to: found.node.hostname, problem },
    })
    throw refused(problem)
  }
  response.end()
}

function refused(why: string): LitefsError {
  const isWhole = why.startsWith("Cannot ")
  return new LitefsError("unavailable", isWhole ? why : `cannot handoff: ${why}`)
}

function conflict(response: ServerResponse, text: string): void {
  response.statusCode = 409
  response.setHeader("Content-Type", "text/plain; charset=utf-8")
  response.end(`${text}\n`)
}
