/** The flags of the proxy, `--proxy-*`, and the options that they make. An address makes a proxy. */
import { basename, dirname, resolve } from "node:path"
import type { ProxyOptions } from "../../litefs-options.ts"
import { type ParsedArgs, readGiven } from "../terminal/argv.ts"
import { databaseNameOf, type FlagTable, Unfit } from "../terminal/flags.ts"

export const PROXY_FLAGS = {
  "proxy-addr": {
    kind: "address",
    like: ":8080",
    help: "put a proxy before the application, like :8080",
  },
  "proxy-target": {
    kind: "address",
    like: "localhost:3000",
    isOfOther: true,
    help: "where the application listens, like localhost:3000",
  },
  "proxy-db": {
    kind: "text",
    isList: true,
    placeholder: "DB",
    help: "clients read what they wrote to it; repeatable",
  },
  "proxy-passthrough": {
    kind: "special",
    isList: true,
    placeholder: "PATTERN",
    read: patternOf,
    help: "paths that are always served here, like *.css; repeatable",
    more: "uninspected",
  },
  "proxy-always-forward": {
    kind: "special",
    isList: true,
    placeholder: "PATTERN",
    read: patternOf,
    help: "paths whose reads go to the primary too; repeatable",
    more: "and their WebSockets",
  },
  "proxy-mode": {
    kind: "choice",
    choices: ["forward", "fly-replay"],
    default: "forward",
    help: "how writes get to the primary",
    more: "`fly-replay`: answer 409 with that header, for Fly.io's own proxy",
  },
  "proxy-max-lag": {
    kind: "duration",
    default: "10s",
    help: "/litefs/health fails beyond this lag; 0: never",
  },
  "proxy-read-timeout": {
    kind: "duration",
    default: "1s",
    help: "a read waits this long, then the primary serves it",
  },
  "proxy-primary-redirect-timeout": {
    kind: "duration",
    default: "5s",
    help: "a write waits this long for a primary",
  },
  "proxy-advertise-url": {
    kind: "url",
    like: "http://10.0.0.1:8080",
    isPlain: true,
    help: "where other nodes reach this proxy (default: the host of the API)",
    more: "at the proxy's port",
  },
  "proxy-debug": { kind: "boolean", help: "log every request of the proxy" },
} as const satisfies FlagTable

type ProxyArgs = ParsedArgs<typeof PROXY_FLAGS>

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
    throw args.usageError(`${given} is given and no --proxy-addr, say where clients are to connect`)
  }
  if (target === undefined) {
    throw args.usageError(
      "--proxy-addr is given and no --proxy-target, say where the application listens",
    )
  }
  const advertiseUrl = values["proxy-advertise-url"]
  return {
    proxy: {
      address,
      target,
      databases: databases(args, fuseDir),
      passthrough: values["proxy-passthrough"],
      alwaysForward: values["proxy-always-forward"],
      mode: values["proxy-mode"],
      maxLagMs: values["proxy-max-lag"],
      readTimeoutMs: values["proxy-read-timeout"],
      redirectTimeoutMs: values["proxy-primary-redirect-timeout"],
      ...(advertiseUrl === undefined ? {} : { advertiseUrl }),
      isDebugging: values["proxy-debug"],
    },
  }
}

function databases(args: ProxyArgs, fuseDir: string): readonly string[] {
  const spelling = args.spelling("proxy-db")
  const names = args.values["proxy-db"].map((text) =>
    readGiven("mount", { text, spelling }, (path) => databaseOf(path, fuseDir)),
  )
  if (names.length > DATABASE_COUNT_MAX) {
    const advice = `name the ${DATABASE_COUNT_MAX} at most that clients write to`
    throw args.usageError(`${spelling} is given ${names.length} times, ${advice}`)
  }
  return [...new Set(names)]
}

/** Accepts a path in the mount, too. */
function databaseOf(text: string, fuseDir: string): string {
  const name = basename(text)
  if (!text.includes("/") || dirname(resolve(text)) === fuseDir) return databaseNameOf(name)
  throw new Unfit(`it should be the name of a database in --fuse-dir "${fuseDir}", like ${name}`)
}

function patternOf(text: string): string {
  if (/^[/*]/.test(text) && text.length <= PATTERN_SIZE_MAX) return text
  throw new Unfit("it should be a path that starts with / or *, like /static/* or *.css")
}
