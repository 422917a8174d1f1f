/** A node's answer to `GET /info`, of which nothing is believed before it was looked at. */
import type { NodeInfo } from "../../http/status/info.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { INFO_SIZE_MAX, type NodeApi } from "./api.ts"
import { TimeLimit } from "./waiting.ts"

/** No work is pending for it: a node that takes longer is stopped. */
const ANSWER_MS_MAX = 10_000

/** For the rest of a long answer. */
const REST_MS_MAX = 60_000

/** Throws when the node does not answer in time. */
export async function infoText(api: NodeApi, clock: Clock): Promise<string> {
  using first = new TimeLimit(clock, ANSWER_MS_MAX)
  using all = new TimeLimit(clock, ANSWER_MS_MAX + REST_MS_MAX)
  const stopping = new AbortController()
  const stop = () => stopping.abort()
  first.signal.addEventListener("abort", stop)
  all.signal.addEventListener("abort", stop)
  try {
    const response = await api.call("/info", {}, { signal: stopping.signal })
    first.signal.removeEventListener("abort", stop)
    return await api.textOf(response, INFO_SIZE_MAX)
  } catch (error) {
    if (!stopping.signal.aborted) throw error
    const ms = all.signal.aborted ? ANSWER_MS_MAX + REST_MS_MAX : ANSWER_MS_MAX
    const problem = `${api.origin} does not answer within ${ms / 1000} seconds`
    throw new LitefsError("unavailable", `Cannot ask for the state of the node: ${problem}`)
  }
}

/** Throws for the answer of another version. */
export function infoIn(text: string, origin: string): NodeInfo {
  const info = parsed(text)
  if (info !== undefined && isInfo(info)) return info as unknown as NodeInfo
  throw new LitefsError(
    "unavailable",
    `Cannot understand ${origin}: its /info is not that of this version, try --json`,
  )
}

/** What the original tells, too. */
export function roleIn(text: string, origin: string): Pick<NodeInfo, "isPrimary" | "candidate"> {
  const { isPrimary, candidate } = parsed(text) ?? {}
  if (typeof isPrimary === "boolean") return { isPrimary, candidate: candidate === true }
  const problem = "its /info does not say whether it is the primary"
  throw new LitefsError("unavailable", `Cannot understand ${origin}: ${problem}`)
}

type Fields = Readonly<Record<string, unknown>>

function parsed(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** What the report uses. */
function isInfo(info: Fields): boolean {
  const { primary, lag, databases, replicas, sync, leaseStore, lastProblem } = info
  return (
    areOf("string", info, ["hostname", "version", "startedAt", "mount", "path"]) &&
    areOf("boolean", info, ["isPrimary", "isReady", "isConnected"]) &&
    [primary, lag].every(isRecord) &&
    isLag(lag) &&
    isListOf(databases, isDatabase) &&
    isListOf(replicas, isReplica) &&
    [sync, leaseStore, lastProblem].every((each) => each === undefined || isRecord(each)) &&
    isOptionally("string", (lastProblem as Fields | undefined)?.problem) &&
    isOptionally("number", info.divergedCount) &&
    isListOf((sync as Fields | undefined)?.degraded ?? [], (each) => typeof each === "string")
  )
}

function isDatabase(value: unknown): boolean {
  return (
    isRecord(value) &&
    areOf("string", value, ["name", "position"]) &&
    areOf("number", value, ["pageCount", "pageSize", "size"]) &&
    isOptionally("string", value.timestamp) &&
    isOptionally("string", value.journalMode) &&
    isOptionally("string", value.problem) &&
    isLag(value.lag)
  )
}

function isReplica(value: unknown): boolean {
  return (
    isRecord(value) &&
    areOf("string", value, ["hostname", "connectedAt"]) &&
    isOptionally("string", value.id) &&
    Array.isArray(value.databases) &&
    isRecord(value.lag)
  )
}

function isLag(value: unknown): boolean {
  return (
    isRecord(value) && isOptionally("number", value.ms) && typeof value.transactions === "number"
  )
}

function isOptionally(type: "string" | "number", value: unknown): boolean {
  return value === undefined || value === null || typeof value === type
}

function areOf(type: "string" | "number" | "boolean", of: Fields, names: string[]): boolean {
  return names.every((name) => typeof of[name] === type)
}

function isListOf(value: unknown, isEntry: (entry: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isEntry)
}

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
