/**
 * What is wrong, in one sentence each, the worst first: with the cause, and what to run. Nothing when all is well.
 *
 *   bad    writes are refused, or a database or a node gets nothing any more
 *   warn   it goes on, and somebody should look
 *   wait   it will pass by itself
 *   note   nothing is wrong, and something is left to do
 */
import { BAD_DATA, CANNOT_TAKE } from "../../cluster/node-problems.ts"
import type { DatabaseStatus, NodeStatus } from "../../cluster/node-status.ts"
import { formatDuration } from "../../lib/duration.ts"
import { shellWord } from "../../lib/errors.ts"

const LEVELS = ["bad", "warn", "wait", "note"] as const

/** Behind is who has been so for longer than a busy machine may be late. */
const BEHIND_MS = 10_000
const UNSENT_COUNT = 1000
/** Names in a sentence. */
const NAME_COUNT = 3

export interface Finding {
  readonly level: (typeof LEVELS)[number]
  readonly text: string
  readonly cause?: string
  /** What to run, each with why. */
  readonly steps?: readonly Step[]
}

export interface Step {
  readonly why: string
  readonly command: string
}

/** A replica that was connected to this node, and is not. */
export interface AwayReplica {
  readonly id: string | null
  readonly hostname: string
  readonly url: string | null
  readonly sinceMs: number
}

interface KnownNode {
  readonly hostname: string
  readonly role: "primary" | "replica"
  readonly isThis: boolean
  readonly isConnected: boolean
  readonly asOfMs: number | null
  readonly url: string | null
  readonly silentMs: number | null
  readonly transactions: number | null
  readonly leftOut: readonly string[]
  readonly leftOutCount: number
}

export interface FindingsContext {
  readonly status: NodeStatus
  readonly lagMs: number | null
  readonly nodes: readonly KnownNode[]
  readonly databases: readonly DatabaseStatus[]
  readonly divergedCount: number
}

export function findings(context: FindingsContext): Finding[] {
  const found = [...ofNode(context), ...ofDatabases(context), ...ofReplicas(context)]
  return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level))
}

function* ofNode({ status, lagMs, divergedCount }: FindingsContext): Generator<Finding> {
  const { identity, problems, isPrimary, isReady, primaryName, problem } = status
  const dataDir = shellWord(identity.dataDir)
  const disk = problems.of("disk")
  const readers = problems.of("readers")
  if (problem !== undefined)
    yield { level: "bad", text: "This node cannot do its work", cause: problem }
  if (disk !== undefined) {
    yield {
      level: "bad",
      text: "The disk is full: transactions are refused, or wait until there is room",
      cause: disk,
      steps: [{ why: "See what is free", command: `df -h ${dataDir}` }],
    }
  }
  if (!isPrimary && primaryName === undefined) yield ofConnection(status)
  else if (!isReady) {
    const text = isPrimary
      ? "This node is starting"
      : "This replica is fetching what it lacks, and is not in sync yet"
    const cause = problems.of("primary")
    yield { level: "wait", text, ...(cause && { cause }) }
  } else if (!isPrimary && (lagMs === null || lagMs > BEHIND_MS)) {
    const by = lagMs === null ? "by an unknown time" : duration(lagMs)
    const cause = readers ?? problems.of("primary")
    yield {
      level: "warn",
      text: `This replica is ${by} behind its primary`,
      ...(cause && { cause }),
    }
  }
  if (readers !== undefined) {
    const pid = /process (?<pid>\d+)/.exec(readers)?.groups?.pid
    const steps = pid === undefined ? [] : [{ why: "See who it is", command: `ps -fp ${pid}` }]
    const text = "Replication waits for a program on this machine that reads a database"
    yield { level: "warn", text, cause: readers, steps }
  }
  const foreign = problems.of("cluster")
  if (foreign !== undefined) {
    const text = "A node of another cluster takes this one for its primary, and gets nothing"
    const why = "If the data was lost here, on the node that has it"
    const steps = [{ why, command: "litefs promote --force" }]
    yield { level: "bad", text, cause: foreign, steps }
  }
  if (divergedCount > 0) {
    const text =
      divergedCount === 1
        ? "This node has kept a history that the primary does not have"
        : `This node has kept ${divergedCount} histories that the primary does not have`
    const command = `litefs diverged list --data-dir ${dataDir}`
    yield { level: "note", text, steps: [{ why: "See what is in it, then remove it", command }] }
  }
}

function ofConnection({ identity, problems, isReady }: NodeStatus): Finding {
  const problem = problems.of("primary")
  if (problem === undefined)
    return { level: "wait", text: "This replica is looking for its primary" }
  const cause = problem.replace(/^not connected to the primary: /, "")
  const isTaken = !cause.startsWith(CANNOT_TAKE) && !cause.includes(` ${BAD_DATA}: `)
  const { primaryUrl, clusterId } = identity
  const promote = {
    why: "If it is gone for good, make this node the primary",
    command: "litefs promote --force",
  }
  const mayLead = isTaken && isReady && clusterId() !== undefined
  return {
    level: "bad",
    text: isTaken
      ? "This replica is not connected to its primary"
      : "This replica cannot take what its primary sends",
    cause,
    steps: [...askPrimary(primaryUrl), ...(mayLead ? [promote] : [])],
  }
}

function askPrimary(url: string | undefined): Step[] {
  if (url === undefined) return []
  return [{ why: "Ask the primary", command: `litefs info --url ${shellWord(url)}` }]
}

function* ofDatabases({ status, databases }: FindingsContext): Generator<Finding> {
  const leftOut = databases.filter(({ condition }) => condition === "left-out")
  const arriving = databases.filter(({ condition }) => condition === "arriving")
  const [first] = leftOut
  if (first !== undefined) {
    const { dataDir, primaryUrl } = status.identity
    const isOfPrimary = first.problem?.startsWith("the primary ") === true
    const steps = isOfPrimary
      ? askPrimary(primaryUrl)
      : [
          {
            why: "Stop this node, and examine its data",
            command: `litefs doctor --data-dir ${shellWord(dataDir)}`,
          },
        ]
    yield {
      level: "bad",
      text: `${counted(leftOut.length, "database is", "databases are")} left out: ${listed(leftOut)}`,
      cause: leftOut.length === 1 ? (first.problem ?? "") : `"${first.name}": ${first.problem}`,
      steps,
    }
  }
  if (arriving.length > 0) {
    const text = `${counted(arriving.length, "database is", "databases are")} on the way here: ${listed(arriving)}`
    yield { level: "wait", text }
  }
}

/** As they are now, not as somebody saw them a while ago. */
function* ofReplicas({ status, nodes }: FindingsContext): Generator<Finding> {
  const away = status.isPrimary ? "is no longer connected" : "is no longer connected to the primary"
  for (const node of nodes) {
    if (node.isThis || node.role !== "replica" || node.asOfMs !== null) continue
    const { hostname, url, transactions, leftOutCount, silentMs } = node
    const steps =
      url === null ? [] : [{ why: "Ask it", command: `litefs info --url ${shellWord(url)}` }]
    const warn = (what: string): Finding => {
      return { level: "warn", text: `The replica "${hostname}" ${what}`, steps }
    }
    if (!node.isConnected) yield warn(away)
    else if (silentMs !== null) {
      yield warn(`has said nothing for ${duration(silentMs)}: what it was sent may not be there`)
    } else if (leftOutCount > 0) {
      const names = listed(
        node.leftOut.map((name) => ({ name })),
        leftOutCount,
      )
      yield warn(`leaves out ${counted(leftOutCount, "database", "databases")}: ${names}`)
    } else if (transactions !== null && transactions > UNSENT_COUNT) {
      yield warn(`is ${transactions.toLocaleString("en")} transactions behind`)
    }
  }
}

function counted(count: number, one: string, several: string): string {
  return `${count} ${count === 1 ? one : several}`
}

function listed(named: readonly { readonly name: string }[], count = named.length): string {
  const names = named.slice(0, NAME_COUNT).map(({ name }) => `"${name}"`)
  return names.join(", ") + (count > NAME_COUNT ? ", …" : "")
}

function duration(ms: number): string {
  return formatDuration(Math.round(ms / 1000) * 1000)
}
