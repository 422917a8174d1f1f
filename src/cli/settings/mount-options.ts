/**
 * From the flags of `litefs mount` to the options of a node: everything that can be checked by looking at the words,
 * and at the token in a file, before anything is touched. `preflight.ts` checks what depends on the machine.
 */
import { hostname as hostnameOfMachine } from "node:os"
import { isAbsolute, relative, resolve } from "node:path"
import type {
  CaptureOptions,
  ListenAddress,
  LiteFSOptions,
  ProxyOptions,
  RoleOptions,
} from "../../litefs-options.ts"
import { accessOptions } from "../terminal/access.ts"
import { type ParsedArgs, readGiven } from "../terminal/argv.ts"
import { fuseOptions } from "./fuse-flags.ts"
import { electedRole } from "./lease-flags.ts"
import { hostnameOf, type MountFlags } from "./mount-flags.ts"
import { proxyOptions } from "./proxy-flags.ts"
import { syncOptions } from "./sync-flags.ts"

type MountArgs = ParsedArgs<MountFlags>

/** `roleHint` is what the user may have meant when no role is given. */
export function mountOptions(args: MountArgs, roleHint?: string): LiteFSOptions {
  const { values } = args
  const advertiseUrl = values["advertise-url"]
  const snapshotRate = values["snapshot-rate"] // 0: no limit
  const access = accessOptions(args)
  const isFollower = values["primary-url"]?.startsWith("https:") === true
  if (access.tls !== undefined && access.tls.certPath === undefined && !isFollower) {
    const advice = "give --http-tls-cert and --http-tls-key, or a --primary-url with https://"
    throw args.usageError(
      `${args.spelling("http-tls-ca")} is given and nothing uses TLS, ${advice}`,
    )
  }
  const httpAddr = values["http-addr"]
  const proxy = proxyOptions(args, resolve(values["fuse-dir"]))
  checkPorts(args, httpAddr, proxy.proxy)
  return {
    ...directories(args),
    role: role(args, roleHint),
    ...membership(args),
    hostname: hostname(args),
    ...(advertiseUrl === undefined ? {} : { advertiseUrl }),
    httpAddr,
    ...access,
    ...fuseOptions(args),
    ...proxy,
    retention: {
      ageMs: values.retention,
      intervalMs: values["retention-interval"],
      sizeMax: values["retention-max-size"],
    },
    ...(snapshotRate ? { snapshotRate } : {}),
    ...(values["forward-writes"] ? { forwardWrites: true } : {}),
    ...syncOptions(args),
    capture: capture(args),
    fuseDebug: values["fuse-debug"],
    log: { level: values["log-level"], format: values["log-format"] },
  }
}

/**
 * Behind the writers where nothing is against it. Those who wrote past a daemon that was killed are kept from writing by
 * their locks, which the kernel must have (sys/process/stale-handles.ts).
 */
function capture(args: MountArgs): CaptureOptions {
  const { capture: wanted, "sync-replicas": replicas } = args.values
  if (wanted === "strict") return { wanted }
  const problems = [
    ["sync-replicas", replicas > 0, "a commit that passes LiteFS cannot wait for replicas"],
    [
      "lease",
      args.values.lease !== undefined,
      "a commit that passes LiteFS cannot be refused when the lease has ended",
    ],
    [
      "forward-writes",
      args.values["forward-writes"] === true,
      "forwarding sees each lock as a request, and writers that pass LiteFS need locks that the kernel keeps without it",
    ],
  ] as const
  const problem = problems.find(([, isGiven]) => isGiven)
  if (problem === undefined) return { wanted }
  const [flag, , why] = problem
  if (wanted === "auto") return { wanted, obstacle: `${args.spelling(flag)} is given, ${why}` }
  throw args.usageError(
    `${args.spelling("capture")} behind and ${args.spelling(flag)} are given, ${why}`,
  )
}

function directories(args: MountArgs): Pick<LiteFSOptions, "fuseDir" | "dataDir"> {
  const fuseDir = resolve(args.values["fuse-dir"])
  const dataDir = resolve(args.values["data-dir"])
  const advice = "give each a directory of its own"
  if (fuseDir === dataDir) {
    throw args.usageError(`--fuse-dir and --data-dir are both "${fuseDir}", ${advice}`)
  }
  if (isInside(dataDir, fuseDir)) {
    throw args.usageError(`--data-dir "${dataDir}" is inside --fuse-dir "${fuseDir}", ${advice}`)
  }
  if (isInside(fuseDir, dataDir)) {
    throw args.usageError(`--fuse-dir "${fuseDir}" is inside --data-dir "${dataDir}", ${advice}`)
  }
  return { fuseDir, dataDir }
}

/** Both paths are absolute. */
export function isInside(path: string, dir: string): boolean {
  const way = relative(dir, path)
  return way !== "" && way !== ".." && !way.startsWith("../") && !isAbsolute(way)
}

function role(args: MountArgs, hint: string | undefined): RoleOptions {
  const primaryUrl = args.values["primary-url"]
  const elected = electedRole(args)
  if (elected !== undefined) {
    const given = (["primary", "primary-url"] as const).find((name) => args.values[name])
    if (given !== undefined) {
      throw args.usageError(
        `${args.spelling("lease")} and ${args.spelling(given)} are given, a store says which node is the primary`,
      )
    }
    const { databases } = args.values
    return { ...elected, ...(databases === undefined ? {} : { databases }) }
  }
  if (args.values.primary && primaryUrl !== undefined) {
    const both = `${args.spelling("primary")} and ${args.spelling("primary-url")}`
    throw args.usageError(`both ${both} are given, a node is either the primary or a replica`)
  }
  const databases = args.values.databases
  if (args.values.primary) {
    if (databases === undefined) return { kind: "primary" }
    throw args.usageError(`${args.spelling("databases")} is given, the primary has all databases`)
  }
  if (primaryUrl !== undefined) {
    return {
      kind: "replica",
      primaryUrl,
      urlSpelling: args.spelling("primary-url"),
      ...(databases === undefined ? {} : { databases }),
    }
  }
  const problem =
    "neither --primary nor --primary-url URL nor --lease STORE is given, and there is no litefs.yml, give one of them"
  throw args.usageError(hint === undefined ? problem : `${problem}; ${hint}`)
}

function membership(
  args: MountArgs,
): Pick<LiteFSOptions, "peers" | "isCandidate" | "promote" | "handoffOnExit"> {
  const { candidate, promote, peer, databases } = args.values
  if (databases !== undefined && (candidate || promote)) {
    const flag = args.spelling(candidate ? "candidate" : "promote")
    throw args.usageError(
      `${flag} and ${args.spelling("databases")} are given, a primary has all databases`,
    )
  }
  const handoffOnExit = !args.values["no-handoff-on-exit"]
  return { peers: peer, isCandidate: candidate, promote, handoffOnExit }
}

function hostname({ values }: MountArgs): string {
  if (values.hostname !== undefined) return values.hostname
  return readGiven("mount", { text: hostnameOfMachine(), spelling: "--hostname" }, hostnameOf)
}

/** Checks three listeners; one is the application's. */
function checkPorts(args: MountArgs, api: ListenAddress, proxy: ProxyOptions | undefined): void {
  if (proxy === undefined) return
  const flags = { "http-addr": api, "proxy-addr": proxy.address, "proxy-target": proxy.target }
  const names = ["http-addr", "proxy-addr", "proxy-target"] as const
  for (const [index, name] of names.entries()) {
    for (const other of names.slice(index + 1)) {
      if (!isSamePort(flags[name], flags[other])) continue
      const both = `${args.spelling(name)} and ${args.spelling(other)}`
      throw args.usageError(
        `${both} are both port ${flags[name].port}, give each a port of its own`,
      )
    }
  }
}

/** Whether one of them would take the port of the other. */
function isSamePort(a: ListenAddress, b: ListenAddress): boolean {
  const host = ({ host: name }: ListenAddress) => (name === "localhost" ? "127.0.0.1" : name)
  const isEverywhere = ({ host: name }: ListenAddress) => ["", "0.0.0.0", "::"].includes(name)
  if (a.port !== b.port || a.port === 0) return false
  return host(a) === host(b) || isEverywhere(a) || isEverywhere(b)
}
