/**
 * The variables `LITEFS_*` of an environment: which of them give a role, and which nobody reads.
 *
 * A variable is known when it is a flag of one of the commands, when we hand it to the commands that we run, when the
 * configuration file refers to it, or when it tells of a service named "litefs", as Kubernetes and Docker have it.
 */

import { FACT_VARIABLES } from "../command/child-environment.ts"
import { DOCTOR_FLAGS } from "../doctor/doctor.ts"
import { LTX_DUMP_FLAGS, LTX_OUTPUT_FLAGS } from "../ltx/ltx.ts"
import { DIVERGED_EXPORT_FLAGS, DIVERGED_LIST_FLAGS } from "../node/diverged.ts"
import { EXPORT_FLAGS } from "../node/export.ts"
import { IMPORT_FLAGS } from "../node/import.ts"
import { INFO_FLAGS } from "../node/info.ts"
import { PROMOTE_FLAGS } from "../node/promote.ts"
import { RUN_FLAGS } from "../node/run.ts"
import { SQL_FLAGS } from "../node/sql.ts"
import { WAIT_FLAGS } from "../node/wait.ts"
import { MOUNT_FLAGS } from "../settings/mount-flags.ts"
import {
  type Environment,
  environmentName,
  type FlagTable,
  hasNoVariable,
} from "../terminal/argv.ts"
import { nearest } from "../terminal/nearest.ts"

const OF_OTHER_COMMANDS: readonly FlagTable[] = [
  ...[INFO_FLAGS, WAIT_FLAGS, RUN_FLAGS, SQL_FLAGS, PROMOTE_FLAGS, IMPORT_FLAGS, EXPORT_FLAGS],
  ...[LTX_DUMP_FLAGS, LTX_OUTPUT_FLAGS, DOCTOR_FLAGS, DIVERGED_LIST_FLAGS, DIVERGED_EXPORT_FLAGS],
]

/** Of our own tests. */
const OF_TESTS = /^LITEFS_(TEST_\w+|FAULTS\w*|ALL_FAULTS|TRACE|PROGRAM|SEED)$/

/** `LITEFS_SERVICE_HOST`, `LITEFS_PORT_20202_TCP_ADDR`, `LITEFS_PRIMARY_PORT`. */
const OF_A_SERVICE = /_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$/

const NO_CLOUD =
  "LiteFS Cloud was shut down in 2024 and there is no backup client here, run litefs export regularly"

const OF_THE_CLOUD = ["LITEFS_CLOUD_TOKEN", "LITEFS_CLOUD_ENDPOINT"]

export type Remark = { readonly key: string; readonly reason: string }

/** Variables that would give a role. */
export function roleVariables(env: Environment): string[] {
  return ["primary", "primary-url"].map(environmentName).filter((name) => {
    const value = env[name] ?? ""
    return value !== "" && (name !== "LITEFS_PRIMARY" || !/^(0|false)$/i.test(value))
  })
}

/** Those of the original's backups. */
export function cloudRemarks(env: Environment, ofFile: ReadonlySet<string>): Remark[] {
  const given = OF_THE_CLOUD.filter((name) => (env[name] ?? "") !== "" && !ofFile.has(name))
  return given.map((key) => ({ key, reason: NO_CLOUD }))
}

/** Sentences about variables that no command has, each with a guess at what was meant. */
export function unknownVariables(env: Environment, ofFile: ReadonlySet<string>): string[] {
  const ofMount = variablesOf(MOUNT_FLAGS)
  const known = new Set([
    ...[...ofMount, ...OF_OTHER_COMMANDS.flatMap(variablesOf), ...FACT_VARIABLES],
    ...[...OF_THE_CLOUD, ...ofFile],
  ])
  const unknown = Object.keys(env).filter(
    (name) =>
      name.startsWith("LITEFS_") &&
      (env[name] ?? "") !== "" &&
      !known.has(name) &&
      !OF_TESTS.test(name) &&
      !OF_A_SERVICE.test(name),
  )
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
  return Object.entries(flags).flatMap(([name, flag]) =>
    hasNoVariable(flag) ? [] : [environmentName(name)],
  )
}
