/** Remarks about single databases, beside where they are: what is wrong with them, or on its way. */
import type { DatabaseRemark } from "../../cluster/node-status.ts"
import { withoutPaths } from "../../lib/errors.ts"
import type { FollowedPrimary } from "../membership/followed-primary.ts"
import type { Databases } from "../storage/databases.ts"
import type { ServedDatabases } from "./served-databases.ts"

export interface RemarksContext {
  readonly databases: Databases
  readonly served: ServedDatabases
  readonly followed: FollowedPrimary
  readonly isPrimary: boolean
}

export function remarks(context: RemarksContext): ReadonlyMap<string, DatabaseRemark> {
  const { databases, served, followed, isPrimary } = context
  const remarks = new Map<string, DatabaseRemark>()
  const add = (name: string, problem: string | undefined) => {
    if (problem !== undefined)
      remarks.set(name, { isArriving: false, problem: withoutPaths(problem) })
  }
  if (!isPrimary) {
    for (const name of followed.arriving) remarks.set(name, { isArriving: true })
    for (const [name, state] of followed.catalogue.leftOut) {
      const isRefused = state === "refused"
      add(
        name,
        isRefused
          ? "the primary has refused it, see its log"
          : "the primary cannot read it, see its log",
      )
    }
    for (const name of followed.refusals.leftOut) add(name, followed.refusals.problem(name))
  }
  for (const name of served.leftOut.names()) add(name, served.leftOut.problem(name))
  for (const [name, problem] of databases.refused) add(name, problem)
  return remarks
}
