/**
 * How a replica gets on with what its primary has: snapshots, and transactions that it lacks. A bar at a terminal, until
 * the node is in sync and commands may print there; else a line of the log every LINE_MS, while it takes as long.
 */
import { every } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { formatSize } from "../../lib/size.ts"
import type { Arriving, SupervisedNode } from "../command/supervisor-state.ts"
import type { CliIo } from "../terminal/io.ts"
import { Pace, Progress, type Step, timeLeft } from "../terminal/progress.ts"
import { counted, onOneLine } from "../terminal/table.ts"

const log = logger("replica")

const LOOK_MS = 250
const LINE_MS = 10_000

/** Ends when the returned function is called. */
export function reportArrivals(node: SupervisedNode, io: CliIo): () => void {
  const look = () => node.arriving?.()
  const screen = io.screen(2)
  const endLines = every(io.clock, LINE_MS, tellLog(look, io))
  if (screen === undefined || screen.isDumb) return endLines
  const progress = new Progress(io)
  const endBar = every(io.clock, LOOK_MS, () => {
    const arriving = look()
    const isOver = arriving === undefined || arriving.isReady
    const step = isOver ? undefined : stepOf(arriving)
    if (step === undefined) progress.end()
    else progress.tell(step)
    if (isOver) endBar()
  })
  return () => {
    endBar()
    progress.end()
    endLines()
  }
}

/** Says only what was under way at the last look, too: what is quick is no news. */
function tellLog(look: () => Arriving | undefined, { clock }: CliIo): () => void {
  let [pace, last] = [new Pace(), ""]
  return () => {
    const arriving = look()
    const step = arriving && stepOf(arriving)
    const kind = step?.what ?? ""
    if (kind !== last) pace = new Pace()
    const isNews = kind !== "" && kind === last
    last = kind
    if (arriving === undefined || step === undefined) return
    const rate = pace.rate(clock.monotonicMs(), step.done)
    if (!isNews) return
    const { done, total = 0, format = formatSize } = step
    const left = timeLeft(total - done, rate)
    const fields = { rate: `${format(Math.round(rate))}/s`, ...(left && { left }) }
    if (arriving.snapshots.length === 0) {
      return log.info("catching up", { missing: arriving.missingCount, ...fields })
    }
    const databases = arriving.snapshots.map(({ database }) => database).join(", ")
    log.info("receiving a whole database", {
      ...{ db: databases, received: format(done), atMost: format(total), ...fields },
    })
  }
}

function stepOf({ snapshots, appliedCount, missingCount }: Arriving): Step | undefined {
  if (snapshots.length > 0) {
    let [done, total] = [0, 0]
    for (const { size, sizeMax } of snapshots) {
      done += size
      total += sizeMax
    }
    const [first] = snapshots
    const what = snapshots.length === 1 ? onOneLine(first?.database ?? "") : "snapshots"
    return { done, total, isAtMost: true, what: `receiving ${what}` }
  }
  if (missingCount <= 1) return undefined
  const total = appliedCount + missingCount
  const format = (count: number) => counted(count, "transaction")
  return { done: appliedCount, total, what: "catching up", format }
}
