/**
 * From the flags of `litefs mount` to the options of a node: everything that can be checked by
 * looking at the words, and at the token that a file holds, before anything is touched. What depends
 * on the machine is checked in `preflight.ts`.
 */
import { hostname as hostnameOfMachine } from "node:os"
import { isAbsolute, relative, resolve } from "node:path"
import { parseDuration } from "../../lib/duration.ts"
import { messageOf } from "../../lib/errors.ts"
import { parseSize } from "../../lib/size.ts"
import type {
  ListenAddress,
  LiteFSOptions,
  ProxyOptions,
  RoleOptions,
} from "../../litefs-options.ts"
import { DatabaseFilter } from "../../wire/database-filter.ts"
import { accessOptions } from "../terminal/access.ts"
import { type ParsedArgs, usageError } from "../terminal/argv.ts"
import { fuseOptions } from "./fuse-flags.ts"
import type { MountFlags } from "./mount-flags.ts"
import { proxyOptions } from "./proxy-flags.ts"

type MountArgs = ParsedArgs<MountFlags>

export function mountOptions(args: MountArgs): LiteFSOptions {
  const { values } = args
  const advertiseUrl = values["advertise-url"]
  const access = accessOptions("mount", args)
  const isFollower = /^https:/i.test(values["primary-url"] ?? "")
  if (access.tls !== undefined && access.tls.certPath === undefined && !isFollower) {
    const advice = "give --http-tls-cert and --http-tls-key, or a --primary-url with https://"
    throw problem(`${args.spelling("http-tls-ca")} is given and nothing uses TLS, ${advice}`)
  }
  const httpAddr = listenAddress(args)
  const proxy = proxyOptions(args, resolve(values["fuse-dir"]))
  checkPorts(args, httpAddr, proxy.proxy)
  return {
    ...directories(args),
    role: role(args),
    ...membership(args),
    hostname: hostname(args),
    ...(advertiseUrl === undefined ? {} : { advertiseUrl: nodeUrl(args, "advertise-url") }),
    httpAddr,
    ...access,
    ...fuseOptions(args),
    ...proxy,
    retention: retention(args),
    ...snapshotRate(args),
    ...(values["forward-writes"] ? { forwardWrites: true } : {}),
    fuseDebug: values["fuse-debug"],
    log: { level: values["log-level"], format: values["log-format"] },
  }
}

function directories(args: MountArgs): Pick<LiteFSOptions, "fuseDir" | "dataDir"> {
  const fuseDir = resolve(args.values["fuse-dir"])
  const dataDir = resolve(args.values["data-dir"])
  const advice = "give each a directory of its own"
  if (fuseDir === dataDir) {
    throw problem(`--fuse-dir and --data-dir are both "${fuseDir}", ${advice}`)
  }
  if (isInside(dataDir, fuseDir)) {
    throw problem(`--data-dir "${dataDir}" is inside --fuse-dir "${fuseDir}", ${advice}`)
  }
  if (isInside(fuseDir, dataDir)) {
    throw problem(`--fuse-dir "${fuseDir}" is inside --data-dir "${dataDir}", ${advice}`)
  }
  return { fuseDir, dataDir }
}

/** Both absolute. */
export function isInside(path: string, dir: string): boolean {
  const way = relative(dir, path)
  return way !== "" && way !== ".." && !way.startsWith("../") && !isAbsolute(way)
}

function role(args: MountArgs): RoleOptions {
  const primaryUrl = args.values["primary-url"]
  if (args.values.primary && primaryUrl !== undefined) {
    const both = `${args.spelling("primary")} and ${args.spelling("primary-url")}`
    throw problem(`both ${both} are given, a node is either the primary or a replica`)
  }
  const databases = args.values.databases
  if (args.values.primary) {
    if (databases === undefined) return { kind: "primary" }
    throw problem(`${args.spelling("databases")} is given, the primary has all databases`)
  }
  if (primaryUrl !== undefined) {
    return {
      kind: "replica",
      primaryUrl: nodeUrl(args, "primary-url"),
      urlSpelling: args.spelling("primary-url"),
      ...(databases === undefined ? {} : { databases: databaseNames(args, databases) }),
    }
  }
  throw problem(
    "neither --primary nor --primary-url URL is given, and there is no litefs.yml, give one of them",
  )
}

function membership(
  args: MountArgs,
): Pick<LiteFSOptions, "peers" | "isCandidate" | "promote" | "handoffOnExit"> {
  const { candidate, promote, peer, databases } = args.values
  if (databases !== undefined && (candidate || promote)) {
    const flag = args.spelling(candidate ? "candidate" : "promote")
    throw problem(
      `${flag} and ${args.spelling("databases")} are given, a primary has all databases`,
    )
  }
  const peers = peer.flatMap((urls) => urls.split(",")).map((url) => nodeUrl(args, "peer", url))
  const handoffOnExit = !args.values["no-handoff-on-exit"]
  return { peers, isCandidate: candidate, promote, handoffOnExit }
}

function databaseNames(args: MountArgs, text: string): readonly string[] {
  try {
    return DatabaseFilter.parse(text).patterns
  } catch (error) {
    throw problem(`${args.spelling("databases")} is "${text}": ${messageOf(error)}`)
  }
}

/** It ends up in `.primary`, a file of one line. */
function hostname(args: MountArgs): string {
  const name = args.values.hostname ?? hostnameOfMachine()
  if (/^[^\s\p{Cc}]+$/u.test(name)) return name
  throw problem(`${args.spelling("hostname")} is "${name}", it should be one word`)
}

/** The origin of a node: scheme, host and port. */
function nodeUrl(
  args: MountArgs,
  flag: "primary-url" | "advertise-url" | "peer",
  text = String(args.values[flag] ?? ""),
): string {
  const fault = (what: string) =>
    problem(`${args.spelling(flag)} is "${text}", it should ${what}, like http://10.0.0.1:20202`)

  if (!URL.canParse(text)) throw fault("be a URL")
  const url = new URL(text)
  if (!/^https?:\/\//i.test(text) || url.hostname === "")
    throw fault("start with http:// or https://")
  if (url.username !== "" || url.password !== "") throw fault("have no user name and password")
  if (url.pathname !== "/" || /[?#]/.test(text)) throw fault("end after the host and the port")
  return url.origin
}

/** `127.0.0.1:20202`, `[::1]:20202`, `localhost:20202`, or `:20202` for every interface. */
function listenAddress(args: MountArgs): ListenAddress {
  const text = args.values["http-addr"]
  const match = /^(?:\[(?<ipv6>[0-9a-fA-F:.]+)\]|(?<host>[^\s:/[\]]*)):(?<port>\d{1,5})$/.exec(text)
  const port = Number(match?.groups?.port)
  if (match === null || port > 65_535) {
    const shape = "HOST:PORT or :PORT, like 127.0.0.1:20202"
    throw problem(`${args.spelling("http-addr")} is "${text}", it should be ${shape}`)
  }
  return { host: match.groups?.ipv6 ?? match.groups?.host ?? "", port }
}

/** Three listeners, of which one is the application's. */
function checkPorts(args: MountArgs, api: ListenAddress, proxy: ProxyOptions | undefined): void {
  if (proxy === undefined) return
  const flags = { "http-addr": api, "proxy-addr": proxy.address, "proxy-target": proxy.target }
  const names = ["http-addr", "proxy-addr", "proxy-target"] as const
  for (const [index, name] of names.entries()) {
    for (const other of names.slice(index + 1)) {
      if (!isSamePort(flags[name], flags[other])) continue
      const both = `${args.spelling(name)} and ${args.spelling(other)}`
      throw problem(`${both} are both port ${flags[name].port}, give each a port of its own`)
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

function retention(args: MountArgs): LiteFSOptions["retention"] {
  return {
    ageMs: duration(args, "retention"),
    intervalMs: duration(args, "retention-interval"),
    sizeMax: size(args, "retention-max-size"),
  }
}

function duration(args: MountArgs, flag: "retention" | "retention-interval"): number {
  const text = args.values[flag]
  try {
    const ms = parseDuration(text)
    if (ms > 0) return ms
  } catch {
    // Said below.
  }
  throw problem(
    `${args.spelling(flag)} is "${text}", it should be a duration above zero, like 10m or 1h30m`,
  )
}

function size(args: MountArgs, flag: "retention-max-size"): number {
  const bytes = parseSize(args.values[flag])
  if (bytes !== undefined) return bytes
  throw problem(
    `${args.spelling(flag)} is "${args.values[flag]}", it should be a size, like 512MiB or 2GiB`,
  )
}

function snapshotRate(args: MountArgs): Pick<LiteFSOptions, "snapshotRate"> {
  const text = args.values["snapshot-rate"]
  if (text === undefined) return {}
  const rate = parseSize(text.replace(/\/s$/, ""))
  if (rate === undefined) {
    const shape = "bytes per second, like 50MB/s, or 0 for no limit"
    throw problem(`${args.spelling("snapshot-rate")} is "${text}", it should be ${shape}`)
  }
  return rate === 0 ? {} : { snapshotRate: rate }
}

function problem(text: string) {
  return usageError("mount", text)
}
