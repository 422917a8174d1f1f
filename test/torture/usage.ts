/**
 * What nodes have open, and how much memory they hold, before and after operations that are done again and again
 * without a fault: those of the upkeep sweep, and some that are no part of it. The first time is not counted.
 */
import { rmSync } from "node:fs"
import { caughtUp, output, start } from "../support/client.ts"
import { PROGRAM } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { onlyPrimary, promote } from "./handoffs.ts"
import { measure, type OperationUsage, type UpkeepOptions } from "./upkeep-faults.ts"
import {
  add,
  always,
  expectDone,
  makeOnBoth,
  OPERATIONS,
  type Operation,
  problemOf,
  until,
} from "./upkeep-operations.ts"

export const TIMES_USED = 10

/** Until what it has left is collected. */
const REST_MS = 15_000

/** Each is done TIMES_USED times on nodes of its own. What has more open each time is a failure. */
export async function usage(
  options: Omit<UpkeepOptions, "at">,
  onUsage: (usage: OperationUsage) => void,
): Promise<void> {
  const { operation: wanted } = options
  const operations = [...OPERATIONS, ...MORE_OPERATIONS]
  for (const operation of operations) {
    if (wanted !== undefined && operation.name !== wanted) continue
    const often = { times: TIMES_USED, restMs: REST_MS }
    await measure({ ...options, at: "primary" }, operation, onUsage, often)
  }
}

/** A node that has nothing follows the primary, and goes again. */
const sendingSnapshots: Operation = {
  name: "snapshot",
  at: [],
  prepare: makeOnBoth,
  async act({ scope, primary }, database, before) {
    const node = await scope.node({ follows: primary })
    const problem = await problemOf(caughtUp(primary, node, database))
    await node.stop()
    rmSync(node.directory, { recursive: true })
    return always(problem, before)
  },
}

const handOverBack: Pick<Operation, "settle"> = {
  async settle({ primary, replica }) {
    await onlyPrimary([primary, replica])
    const { isPrimary } = await infoOf(primary)
    if (!isPrimary) await promote(primary)
    await onlyPrimary([primary, replica])
  },
}

/** A replica that is cut off is made the primary by force. The old one keeps what it has taken meanwhile. */
const diverging: Operation = {
  name: "diverge",
  at: [],
  advertisesLink: true,
  flags: ["--candidate"],
  prepare: makeOnBoth,
  async act(pair, database) {
    const { primary, replica, link } = pair
    link?.refuse()
    link?.cut()
    expectDone(await add(pair, database, []))
    await promote(replica, "?force=true")
    expectDone(await pair.ask("add", replica, database, { n: 2 }))
    link?.heal()
    const keeps = async () => (await infoOf(primary)).isPrimary === false
    const problem =
      (await until("replaced", primary, keeps, 20_000)) ??
      (await until("the same", primary, () => pair.isSame(database), 20_000))
    const { rows } = await pair.ask("check", primary, database)
    if (`${rows}` !== "1,2") throw new Error(`there is ${rows}, not what the new primary has`)
    return always(problem, rows)
  },
  ...handOverBack,
}

/** Commands on the data directory of a node that is stopped for them. */
const examining: Operation = {
  name: "doctor",
  at: [],
  prepare: makeOnBoth,
  async act(pair, _database, before) {
    const { data } = pair.primary
    await pair.primary.stop()
    await output(start([...PROGRAM, "doctor", "--data-dir", data]))
    await output(start([...PROGRAM, "diverged", "list", "--data-dir", data]))
    return always(await problemOf(pair.restart()), before)
  },
}

const MORE_OPERATIONS: readonly Operation[] = [sendingSnapshots, diverging, examining]
