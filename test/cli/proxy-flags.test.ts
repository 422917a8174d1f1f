import { describe, expect, test } from "bun:test"
import { MOUNT_SYNTAX } from "../../src/cli/settings/mount-flags.ts"
import { mountOptions } from "../../src/cli/settings/mount-options.ts"
import { parseArgs } from "../../src/cli/terminal/argv.ts"
import { LitefsError } from "../../src/lib/errors.ts"

function proxyOf(args: string[], env: Record<string, string> = {}) {
  return mountOptions(parseArgs(MOUNT_SYNTAX, ["--primary", ...args], env)).proxy
}

function problemOf(args: string[]): string {
  try {
    proxyOf(args)
  } catch (error) {
    if (!(error instanceof LitefsError) || error.code !== "usage") throw error
    return error.message.replace("Cannot run litefs mount: ", "")
  }
  throw new Error("it was accepted")
}

const MINIMUM = ["--proxy-addr", ":8080", "--proxy-target", "localhost:3000"]

describe("the flags of the proxy", () => {
  test("make none when they are not given", () => {
    expect(proxyOf([])).toBeUndefined()
  })

  test("make one of two flags", () => {
    expect(proxyOf(MINIMUM)).toEqual({
      address: { host: "", port: 8080 },
      target: { host: "localhost", port: 3000 },
      databases: [],
      passthrough: [],
      alwaysForward: [],
      mode: "forward",
      maxLagMs: 10_000,
      readTimeoutMs: 1000,
      redirectTimeoutMs: 5000,
      isDebugging: false,
    })
  })

  test("can all be given, the lists several times", () => {
    const flags = [
      ...["--proxy-addr", "[::1]:8080", "--proxy-target", ":3000", "--proxy-db", "a.db"],
      ...["--proxy-db", "b.db", "--proxy-db", "a.db", "--proxy-passthrough", "*.css"],
      ...["--proxy-passthrough", "/static/*", "--proxy-always-forward", "/admin/*"],
      ...["--proxy-mode", "fly-replay", "--proxy-max-lag", "0", "--proxy-read-timeout", "250ms"],
      ...["--proxy-primary-redirect-timeout", "1m", "--proxy-debug"],
      ...["--proxy-advertise-url", "http://10.0.0.1:8080/"],
    ]
    expect(proxyOf(flags)).toEqual({
      address: { host: "::1", port: 8080 },
      target: { host: "127.0.0.1", port: 3000 },
      databases: ["a.db", "b.db"],
      passthrough: ["*.css", "/static/*"],
      alwaysForward: ["/admin/*"],
      mode: "fly-replay",
      maxLagMs: 0,
      readTimeoutMs: 250,
      redirectTimeoutMs: 60_000,
      advertiseUrl: "http://10.0.0.1:8080",
      isDebugging: true,
    })
  })

  test("can be set in the environment, a list with one value on each line", () => {
    const env = {
      LITEFS_PROXY_ADDR: ":8080",
      LITEFS_PROXY_TARGET: "localhost:3000",
      LITEFS_PROXY_DB: "a.db\nb.db",
    }
    expect(proxyOf([], env)?.databases).toEqual(["a.db", "b.db"])
  })

  const seventeen = Array.from({ length: 17 }, (_, index) => ["--proxy-db", `${index}.db`]).flat()

  test.each<[string[], RegExp]>([
    [["--proxy-target", ":3000"], /^--proxy-target is given and no --proxy-addr/],
    [["--proxy-db", "a.db"], /^--proxy-db is given and no --proxy-addr/],
    [["--proxy-addr", ":8080"], /^--proxy-addr is given and no --proxy-target/],
    [["--proxy-addr", "8080", "--proxy-target", ":3000"], /^--proxy-addr is "8080", it should be/],
    [["--proxy-addr", ":8080", "--proxy-target", "http://a:1"], /^--proxy-target is "http:/],
    [["--proxy-addr", ":8080", "--proxy-target", "a:0"], /its port should be 1 to 65535$/],
    [["--proxy-addr", ":8080", "--proxy-target", "a:65536"], /it should be HOST:PORT/],
    [
      [...MINIMUM, "--proxy-db", "a/b"],
      /^--proxy-db is "a\/b", it should be the name of a database in --fuse-dir "\/litefs", like b$/,
    ],
    [[...MINIMUM, ...seventeen], /^--proxy-db is given 17 times/],
    [[...MINIMUM, "--proxy-passthrough", "static"], /it should be a path that starts with/],
    [[...MINIMUM, "--proxy-max-lag", "ten"], /^--proxy-max-lag is "ten", it should be a duration/],
    [[...MINIMUM, "--proxy-read-timeout=-1s"], /^--proxy-read-timeout is "-1s"/],
    [[...MINIMUM, "--proxy-mode", "magic"], /^--proxy-mode is "magic"/],
    [[...MINIMUM, "--proxy-advertise-url", "https://a"], /it should start with http:\/\/, like/],
    [[...MINIMUM, "--proxy-advertise-url", "http://a/b"], /it should end after the host and the/],
    [[...MINIMUM, "--proxy-db", "a.db-wal"], /names that end in "-wal" are reserved, it should be/],
  ])("%p are refused", (args, problem) => {
    expect(problemOf(args)).toMatch(problem)
  })
})
