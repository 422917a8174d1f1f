/**
 * The variables `LITEFS_*` of an environment: which of them give a role, and which nobody reads.
 *
 * A variable is known when it is a flag of one of the commands, when we hand it to the commands that we run, when the
 * configuration file refers to it, or when Kubernetes or Docker describes a service named "litefs" with it.
 */

import { FACT_VARIABLES } from "../command/child-environment.ts"
import { MOUNT_FLAGS } from "../settings/mount-flags.ts"
import type { Environment } from "../terminal/argv.ts"
import { environmentName, type FlagTable, variableOf } from "../terminal/flags.ts"
import { nearest } from "../terminal/nearest.ts"

/** Variables of our own tests. */
const OF_TESTS = /^LITEFS_(TEST_\w+|FAULTS\w*|ALL_FAULTS|TRACE|PROGRAM|SEED)$/

/** `LITEFS_SERVICE_HOST`, `LITEFS_PORT_20202_TCP_ADDR`, `LITEFS_PRIMARY_PORT`. */
const OF_A_SERVICE = /_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$/

const NO_CLOUD =
  "LiteFS Cloud was shut down in 2024 and there is no backup client here, run litefs export regularly"

const OF_THE_CLOUD = ["LITEFS_CLOUD_TOKEN", "LITEFS_CLOUD_ENDPOINT"]

export type Remark = { readonly key: string; readonly reason: string }

/** The variable that was probably meant to give a role, with what it should be. */
export function misspelledRole(env: Environment): string | undefined {
  const known = variablesOf(MOUNT_FLAGS)
  const roles = ["primary", "primary-url", "lease"].map(environmentName)
  for (const [name, value = ""] of Object.entries(env)) {
    if (!name.startsWith(PREFIX) || value === "" || known.includes(name)) continue
    const guess = nearest(name.slice(PREFIX.length), known.map(withoutPrefix))
    if (guess !== undefined && roles.includes(PREFIX + guess))
      return `${name} is set, did you mean ${PREFIX}${guess}?`
  }
  return undefined
}

/** Variables that would give a role. */
export function roleVariables(env: Environment): string[] {
  return ["primary", "primary-url", "lease"].map(environmentName).filter((name) => {
    const value = env[name] ?? ""
    if (name === "LITEFS_LEASE" && value === "static") return false
    return value !== "" && (name !== "LITEFS_PRIMARY" || !/^(0|false)$/i.test(value))
  })
}

/** Remarks about variables of the original's backups. */
export function cloudRemarks(env: Environment, ofFile: ReadonlySet<string>): Remark[] {
  const given = OF_THE_CLOUD.filter((name) => (env[name] ?? "") !== "" && !ofFile.has(name))
  return given.map((key) => ({ key, reason: NO_CLOUD }))
}

/**
 * Sentences about variables of no command, each with a guess at what was meant. `otherFlags` are those of the other
 * commands. They are loaded only when a variable is no flag of this one.
 */
export async function unknownVariables(
  env: Environment,
  ofFile: ReadonlySet<string>,
  otherFlags: () => Promise<readonly FlagTable[]>,
): Promise<string[]> {
  const ofMount = variablesOf(MOUNT_FLAGS)
  const known = new Set([...ofMount, ...Object.keys(FACT_VARIABLES), ...OF_THE_CLOUD, ...ofFile])
  const others = Object.keys(env).filter(
    (name) =>
      name.startsWith(PREFIX) &&
      (env[name] ?? "") !== "" &&
      !known.has(name) &&
      !OF_TESTS.test(name) &&
      !OF_A_SERVICE.test(name),
  )
  if (others.length === 0) return []
  const ofOthers = new Set((await otherFlags()).flatMap(variablesOf))
  const unknown = others.filter((name) => !ofOthers.has(name))
  return unknown.sort().map((name) => {
    const guess = nearest(name.slice(PREFIX.length), ofMount.map(withoutPrefix))
    return guess === undefined ? name : `${name} (did you mean ${PREFIX}${guess}?)`
  })
}

const PREFIX = "LITEFS_"

function withoutPrefix(name: string): string {
  return name.slice(PREFIX.length)
}

function variablesOf(flags: FlagTable): string[] {
  return Object.entries(flags).flatMap(([name, flag]) => variableOf(name, flag) ?? [])
}
