/** The flags of the proxy, `--proxy-*`, and the options that they make. There is a proxy when there is an address. */
import { basename, dirname, resolve } from "node:path"
import { parseDuration } from "../../lib/duration.ts"
import { messageOf } from "../../lib/errors.ts"
import type { ListenAddress, ProxyOptions } from "../../litefs-options.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"
import { type FlagTable, type ParsedArgs, usageError } from "../terminal/argv.ts"

export const PROXY_FLAGS = {
  "proxy-addr": {
    kind: "text",
    placeholder: "ADDR",
    help: "put a proxy before the application, like :8080",
  },
  "proxy-target": {
    kind: "text",
    placeholder: "ADDR",
    help: "where the application listens, like localhost:3000",
  },
  "proxy-db": {
    kind: "list",
    placeholder: "DB",
    help: "clients read what they wrote to it; repeatable",
  },
  "proxy-passthrough": {
    kind: "list",
    placeholder: "PATTERN",
    help: "paths that are always served here, like *.css; repeatable",
  },
  "proxy-always-forward": {
    kind: "list",
    placeholder: "PATTERN",
    help: "paths whose reads go to the primary too; repeatable",
  },
  "proxy-mode": {
    kind: "choice",
    choices: ["forward", "fly-replay"],
    default: "forward",
    help: "how writes get to the primary",
  },
  "proxy-max-lag": {
    kind: "text",
    placeholder: "DURATION",
    default: "10s",
    help: "behind this /litefs/health fails; 0: never",
  },
  "proxy-read-timeout": {
    kind: "text",
    placeholder: "DURATION",
    default: "1s",
    help: "a read waits so long, then the primary serves it",
  },
  "proxy-primary-redirect-timeout": {
    kind: "text",
    placeholder: "DURATION",
    default: "5s",
    help: "a write waits so long for a primary",
  },
  "proxy-advertise-url": {
    kind: "text",
    placeholder: "URL",
    help: "where other nodes reach this proxy (default: the host of the API)",
  },
  "proxy-debug": {
    kind: "boolean",
    help: "log every request of the proxy",
  },
} as const satisfies FlagTable

type ProxyFlags = typeof PROXY_FLAGS
type ProxyArgs = Pick<ParsedArgs<ProxyFlags>, "values" | "spelling">
type ProxyFlag = keyof ProxyFlags

/** A cookie holds no more. */
const DATABASE_COUNT_MAX = 16

const PATTERN_SIZE_MAX = 1024

/** `fuseDir` is absolute. */
export function proxyOptions(args: ProxyArgs, fuseDir: string): { readonly proxy?: ProxyOptions } {
  const { values } = args
  const address = values["proxy-addr"]
  const target = values["proxy-target"]
  if (address === undefined) {
    const stray = (["proxy-target", "proxy-advertise-url"] as const).find((flag) => values[flag])
    if (stray === undefined && values["proxy-db"].length === 0) return {}
    const given = args.spelling(stray ?? "proxy-db")
    throw problem(`${given} is given and no --proxy-addr, say where clients are to connect`)
  }
  if (target === undefined) {
    throw problem("--proxy-addr is given and no --proxy-target, say where the application listens")
  }
  const advertiseUrl = values["proxy-advertise-url"]
  return {
    proxy: {
      address: hostAndPort(args, "proxy-addr", address),
      target: targetOf(args, target),
      databases: databases(args, fuseDir),
      passthrough: patterns(args, "proxy-passthrough"),
      alwaysForward: patterns(args, "proxy-always-forward"),
      mode: values["proxy-mode"],
      maxLagMs: duration(args, "proxy-max-lag"),
      readTimeoutMs: duration(args, "proxy-read-timeout"),
      redirectTimeoutMs: duration(args, "proxy-primary-redirect-timeout"),
      ...(advertiseUrl === undefined ? {} : { advertiseUrl: originOf(args, advertiseUrl) }),
      isDebugging: values["proxy-debug"],
    },
  }
}

/** As the original has it: `:3000` is this machine. */
function targetOf(args: ProxyArgs, text: string): ListenAddress {
  const { host, port } = hostAndPort(args, "proxy-target", text)
  if (port === 0) throw problem(`${args.spelling("proxy-target")} is "${text}", port 0 is nobody's`)
  return { host: host === "" ? "127.0.0.1" : host, port }
}

function hostAndPort(args: ProxyArgs, flag: ProxyFlag, text: string): ListenAddress {
  const match = /^(?:\[(?<ipv6>[0-9a-fA-F:.]+)\]|(?<host>[^\s:/[\]]*)):(?<port>\d{1,5})$/.exec(text)
  const port = Number(match?.groups?.port)
  if (match === null || port > 65_535) {
    const shape = "HOST:PORT or :PORT, like localhost:3000"
    throw problem(`${args.spelling(flag)} is "${text}", it should be ${shape}`)
  }
  return { host: match.groups?.ipv6 ?? match.groups?.host ?? "", port }
}

function databases(args: ProxyArgs, fuseDir: string): readonly string[] {
  const names = args.values["proxy-db"].map((name) => databaseName(args, name, fuseDir))
  for (const name of names) {
    try {
      validateDatabaseName(name)
    } catch (error) {
      throw problem(`${args.spelling("proxy-db")} is "${name}": ${messageOf(error)}`)
    }
  }
  if (names.length > DATABASE_COUNT_MAX) {
    const advice = `name the ${DATABASE_COUNT_MAX} at most that clients write to`
    throw problem(`${args.spelling("proxy-db")} is given ${names.length} times, ${advice}`)
  }
  return [...new Set(names)]
}

/** Also of a path in the mount. */
function databaseName(args: ProxyArgs, text: string, fuseDir: string): string {
  if (!text.includes("/") || dirname(resolve(text)) === fuseDir) return basename(text)
  const shape = `the name of a database in --fuse-dir "${fuseDir}", like ${basename(text)}`
  throw problem(`${args.spelling("proxy-db")} is "${text}", it should be ${shape}`)
}

function patterns(
  args: ProxyArgs,
  flag: "proxy-passthrough" | "proxy-always-forward",
): readonly string[] {
  for (const pattern of args.values[flag]) {
    if (/^[/*]/.test(pattern) && pattern.length <= PATTERN_SIZE_MAX) continue
    const shape = "a path that starts with / or *, like /static/* or *.css"
    throw problem(`${args.spelling(flag)} is "${pattern}", it should be ${shape}`)
  }
  return args.values[flag]
}

function duration(
  args: ProxyArgs,
  flag: "proxy-max-lag" | "proxy-read-timeout" | "proxy-primary-redirect-timeout",
): number {
  const text = args.values[flag]
  try {
    const ms = parseDuration(text)
    if (ms >= 0) return ms
  } catch {
    // Said below.
  }
  throw problem(`${args.spelling(flag)} is "${text}", it should be a duration, like 5s or 500ms`)
}

function originOf(args: ProxyArgs, text: string): string {
  const fault = problem(
    `${args.spelling("proxy-advertise-url")} is "${text}", it should be http://, a host and a port, ` +
      "like http://10.0.0.1:8080",
  )
  if (!URL.canParse(text)) throw fault
  const url = new URL(text)
  const isOrigin =
    url.pathname === "/" && !/[?#]/.test(text) && url.username === "" && url.password === ""
  if (!/^http:\/\//i.test(text) || !isOrigin) throw fault
  return url.origin
}

function problem(text: string) {
  return usageError("mount", text)
}
