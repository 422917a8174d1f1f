import { describe, expect, test } from "bun:test"
import { MOUNT_FLAGS } from "../../src/cli/settings/mount-flags.ts"
import { type ConfigFile, readConfig } from "../../src/config/config-file.ts"
import { KEYS } from "../../src/config/keys.ts"
import { type LitefsError, messageOf } from "../../src/lib/errors.ts"

const PROXY_FLAGS = Object.fromEntries(
  Object.values(KEYS).flatMap(({ flag }) => (flag?.startsWith("proxy-") ? [[flag, {}]] : [])),
)

function read(text: string, env: Record<string, string> = {}, hasRole = false): ConfigFile {
  const flags = { ...MOUNT_FLAGS, ...PROXY_FLAGS }
  return readConfig("l.yml", text, { env, hasRole: () => hasRole, isExpanded: true, flags })
}

/** Flags and values, without those that the others have by default. */
function flagsOf(text: string, env: Record<string, string> = {}): Record<string, string> {
  const entries = [...read(text, env).settings].map(([flag, settings]) => [
    flag,
    settings.map((each) => each.text).join("|"),
  ])
  return Object.fromEntries(entries)
}

function errorOf(text: string, env: Record<string, string> = {}): string {
  try {
    read(text, env)
  } catch (error) {
    expect((error as LitefsError).code).toBe("usage")
    return messageOf(error).replace("Cannot run litefs mount: ", "")
  }
  throw new Error("Cannot show the error: there was none")
}

const STATIC = "lease: {type: static}\n"
const PRIMARY = { primary: "true", "http-addr": ":20202" }

/** All keys, as in the original's documentation. */
const EVERYTHING = `
exit-on-error: false
skip-sync: true
strict-verify: false
fuse: {dir: /f, allow-other: true, debug: true}
data:
  dir: "/d"
  compress: true
  retention: "24h"
  retention-monitor-interval: "5m"
http: {addr: ":20203", snapshot-timeout: 10m}
proxy:
  addr: ":8080"
  target: "localhost:8081"
  db: "db"
  max-lag: "5s"
  debug: false
  passthrough: ["*.ico", "*.png"]
  always-forward: ["/admin/*"]
  primary-redirect-timeout: "5s"
  read-timeout: 1s
  read-header-timeout: 2s
  write-timeout: 3s
  idle-timeout: 4s
lease:
  type: static
  hostname: "myhost"
  advertise-url: http://myhost:20202
  candidate: yes
  promote: true
  reconnect-delay: "1s"
  demote-delay: "10s"
  consul: {url: "http://c:8500", key: litefs/primary, ttl: 10s, lock-delay: 1s}
backup: {type: ""}
log: {format: json, timestamp: true, debug: true}
tracing: {enabled: true, path: /var/log/trace.log, max-size: 64, max-count: 8, compress: true}
exec:
  - cmd: "./migrate.sh"
    if-candidate: true
  - cmd: "node server.js"
`

describe("readConfig() takes", () => {
  test.each<
    [what: string, text: string, flags: Record<string, string>, env?: Record<string, string>]
  >([
    ["a static primary", STATIC, PRIMARY],
    [
      "a static replica, whose name is not in the file",
      "lease: {type: static, candidate: false, hostname: p, advertise-url: 'http://p:20202'}",
      { "http-addr": ":20202", "primary-url": "http://p:20202" },
    ],
    [
      "a role by a comparison of variables",
      'lease:\n  type: "static"\n  candidate: ${REGION == PRIMARY_REGION}\n  advertise-url: "http://$HOST:20202"',
      { ...PRIMARY, "advertise-url": "http://h:20202" },
      { REGION: "ams", PRIMARY_REGION: "ams", HOST: "h" },
    ],
    [
      "databases of a replica",
      "lease: {type: static, candidate: false, advertise-url: 'http://p', databases: [a.db, b.db]}",
      { "http-addr": ":20202", "primary-url": "http://p", databases: "a.db,b.db" },
    ],
    ["older words for true", `${STATIC}skip-sync: on`, { ...PRIMARY, "skip-sync": "true" }],
    ["a number for a text", `${STATIC}fuse: {dir: 5}`, { ...PRIMARY, "fuse-dir": "5" }],
    ["nothing for a key", `${STATIC}fuse:\ndata: {dir: $NONE}\nlog: {format: ""}`, PRIMARY],
    [
      "aliases",
      "lease: &l {type: static}\nfuse: &f\n  dir: /x\n",
      { ...PRIMARY, "fuse-dir": "/x" },
    ],
  ])("%s", (_, text, flags, ...[env]) => {
    expect(flagsOf(text, env)).toEqual(flags)
  })

  test("every key of the original", () => {
    expect(flagsOf(EVERYTHING)).toEqual({
      ...{ "exit-on-error": "false", "skip-sync": "true", "fuse-dir": "/f", "fuse-debug": "true" },
      "allow-other": "true",
      ...{ "data-dir": "/d", retention: "24h", "retention-interval": "5m", "http-addr": ":20203" },
      ...{ "proxy-addr": ":8080", "proxy-target": "localhost:8081", "proxy-db": "db" },
      ...{ "proxy-max-lag": "5s", "proxy-debug": "false", "proxy-passthrough": "*.ico|*.png" },
      ...{ "proxy-always-forward": "/admin/*", "proxy-primary-redirect-timeout": "5s" },
      ...{ primary: "true", promote: "true", hostname: "myhost" },
      "advertise-url": "http://myhost:20202",
      ...{ "log-format": "json", "log-level": "debug" },
    })
    const { remarks, exec } = read(EVERYTHING)
    expect(remarks.map(({ key }) => key)).toEqual([
      "http.snapshot-timeout (l.yml:11)",
      ...["read", "read-header", "write", "idle"].map(
        (what, index) => `proxy.${what}-timeout (l.yml:${21 + index})`,
      ),
      "lease.reconnect-delay (l.yml:31)",
      "lease.demote-delay (l.yml:32)",
      ...["url", "key", "ttl", "lock-delay"].map((key) => `lease.consul.${key} (l.yml:33)`),
      "log.timestamp (l.yml:35)",
      "tracing.path (l.yml:36)",
    ])
    expect(exec).toEqual([
      { text: "./migrate.sh", isForCandidate: true, spelling: "exec.0.cmd (l.yml:38)" },
      { text: "node server.js", isForCandidate: false, spelling: "exec.1.cmd (l.yml:40)" },
    ])
  })

  test.each([
    ["url: 'http://c:8500', key: litefs/primary", "consul://c:8500/litefs/primary"],
    [
      "url: 'https://:tok%2Fen@c.example/app-1', key: litefs/primary, ttl: 15s, lock-delay: 2s",
      "consul+https://:tok%2Fen@c.example:443/app-1/litefs/primary?node=app-1%2Flitefs&ttl=15s&lock-delay=2s",
    ],
    ["url: 'http://c', key: a, ttl: 0s, lock-delay: 0s", "consul://c:80/a"],
  ])("a lease of Consul: {%s}", (consul, lease) => {
    const text = `lease: {type: consul, promote: true, hostname: h, consul: {${consul}}}`
    const { settings, remarks } = read(text)
    const found = Object.fromEntries([...settings].map(([flag, [one]]) => [flag, one?.text]))
    expect(found).toEqual({
      ...{ lease, candidate: "true", promote: "true", hostname: "h", "http-addr": ":20202" },
    })
    expect(remarks).toEqual([])
    expect([...read(text.replace("promote: true", "candidate: false")).settings.keys()]).toEqual([
      ...["http-addr", "lease", "hostname"],
    ])
  })

  test("a command that is only a text", () => {
    expect(read(`${STATIC}exec: "node server.js"`).exec).toEqual([
      { text: "node server.js", isForCandidate: false, spelling: "exec (l.yml:2)" },
    ])
  })

  test("no role from the file when it is given elsewhere", () => {
    const { settings } = read("lease: {type: consul, candidate: true}", {}, true)
    expect([...settings.keys()]).toEqual(["http-addr"])
  })

  test("variables as they are when told to", () => {
    const options = { env: {}, hasRole: () => true, isExpanded: false, flags: MOUNT_FLAGS }
    const { settings } = readConfig("l.yml", "fuse: {dir: /$x}", options)
    expect(settings.get("fuse-dir")?.[0]?.text).toBe("/$x")
  })
})

describe("readConfig() refuses", () => {
  test.each([
    ["", "l.yml is empty"],
    ["# nothing\n", "l.yml is empty"],
    ["- a\n", "l.yml has no keys"],
    ["a: 1\n  b: 2\n", "l.yml:2 is not YAML: Unexpected token"],
    ["fuse:\n\tdir: /x\n", "l.yml:2 is not YAML: Tab characters cannot be used as indentation"],
    [
      "x: ${A-b}\n",
      "l.yml: line 1: \"${A-b}\" should be ${NAME}, ${NAME == 'text'} or ${NAME != OTHER}, or give --no-expand-env",
    ],
    [
      `${STATIC}fuze: {}`,
      "fuze (l.yml:2) is not a key, there are exit-on-error, skip-sync, strict-verify, exec, fuse, data, http, proxy, lease, backup, log, tracing",
    ],
    [
      `${STATIC}\nlog:\n  formt: json`,
      "log.formt (l.yml:4) is not a key, in log there are format, timestamp, debug",
    ],
    [
      `${STATIC}toString: 1`,
      "toString (l.yml:2) is not a key, there are exit-on-error, skip-sync, strict-verify, exec, fuse, data, http, proxy, lease, backup, log, tracing",
    ],
    ["mount-dir: /x", "mount-dir (l.yml:1) is no longer a key, it is fuse.dir now"],
    [
      `${STATIC}fuse:\n  dir: /a\nfuse:\n  dir: /b\n`,
      "fuse (l.yml:4) is given twice, also in line 2",
    ],
    [
      `${STATIC}fuse: {dir: /a}\n"fu\\x73e": {dir: /b}`,
      "fuse (l.yml:3) is given twice, also in line 2",
    ],
    [
      `${STATIC}fuse: {dir: /a}\n!!str fuse: {dir: /b}`,
      "fuse (l.yml:3) is given twice, also in line 2",
    ],
    [
      `${STATIC}fuse: {dir: /a}\n? fuse\n: {dir: /b}`,
      "fuse (l.yml:3) is given twice, also in line 2",
    ],
    [`${STATIC}fuse: {"dir":"/a","dir":"/b"}`, "fuse.dir (l.yml:2) is given twice, also in line 2"],
    [`a: ${"[".repeat(100_000)}`, "l.yml is not YAML: it is nested too deeply"],
    [`${STATIC}fuse: {dir: /a, dir: /b}`, "fuse.dir (l.yml:2) is given twice, also in line 2"],
    [`${STATIC}fuse: /x`, 'fuse (l.yml:2) is "/x", it should have keys below it'],
    [
      `${STATIC}fuse:\n  dir: 1.5`,
      "fuse.dir (l.yml:3) is 1.5, it should be a text, put it in quotes",
    ],
    [
      `${STATIC}fuse:\n  dir: [a]`,
      'fuse.dir (l.yml:3) is ["a"], it should be a text, put it in quotes',
    ],
    [
      `${STATIC}fuse: &f\n  dir: *f`,
      "fuse.dir (l.yml:3) is a value that contains itself, it should be a text, put it in quotes",
    ],
    [
      `${STATIC}exec: &e [*e]`,
      "exec.0 (l.yml:2) is a value that contains itself, it should have the key cmd",
    ],
    [
      `${STATIC}exec: &e\n  - cmd: *e`,
      "exec.0.cmd (l.yml:3) is a value that contains itself, it should be a text, or a list of words",
    ],
    [
      `${STATIC}fuse: {dir: [${"a,".repeat(1000)}a]}`,
      `fuse.dir (l.yml:2) is ["a"${',"a"'.repeat(49)}…, it should be a text, put it in quotes`,
    ],
    [`${STATIC}skip-sync: 1`, "skip-sync (l.yml:2) is 1, it should be true or false"],
    [
      `${STATIC}data: {retention: 10}`,
      'data.retention (l.yml:2) is 10, it should be a duration, like "10s" or "1h30m"',
    ],
    [
      `${STATIC}data: {retention: 10 min}`,
      'data.retention (l.yml:2) is "10 min", it should be a duration, like "10s" or "1h30m"',
    ],
    [
      `${STATIC}tracing: {max-size: 1MB}`,
      'tracing.max-size (l.yml:2) is "1MB", it should be a number',
    ],
    [
      `${STATIC}proxy: {passthrough: "*"}`,
      'proxy.passthrough (l.yml:2) is "*", it should be a list of texts',
    ],
    [`${STATIC}exec: 5`, "exec (l.yml:2) should be a command, or a list"],
    [`${STATIC}exec: [a]`, 'exec.0 (l.yml:2) is "a", it should have the key cmd'],
    [
      `${STATIC}exec:\n  - if-candidate: true`,
      "exec.0 (l.yml:2) has no cmd, it should be the command",
    ],
    [
      `${STATIC}exec:\n  - cmd: a\n    shell: b`,
      "exec.0.shell (l.yml:4) is not a key, there are cmd, if-candidate",
    ],
    [
      `${STATIC}exec:\n  - cmd: a\n    if-candidate: 1`,
      "exec.0.if-candidate (l.yml:4) is 1, it should be true or false",
    ],
    [
      "fuse: {}",
      "lease.type (l.yml) is missing, it should be static or consul, or give --primary, --primary-url or --lease",
    ],
    [
      "lease:\n  candidate: true",
      "lease.type (l.yml:1) is missing, it should be static or consul, or give --primary, --primary-url or --lease",
    ],
    ["lease: {type: raft}", 'lease.type (l.yml:1) is "raft", it should be static or consul'],
    [
      "lease:\n  type: static\n  candidate: $NONE",
      "lease.candidate (l.yml:3) has no value, it should be true or false (not set: $NONE)",
    ],
    [
      "lease:\n  type: static\n  candidate: false",
      "lease.advertise-url (l.yml:1) is missing, it should be that of the primary",
    ],
  ])("%j", (text, problem) => {
    expect(errorOf(text)).toBe(problem)
  })

  test.each([
    [3000, "l.yml:3002 is not YAML: Unexpected token"],
    [40_000, "l.yml is not YAML: Unexpected token"],
  ])("a mistake after %d lines, in little time", (count, problem) => {
    const startMs = performance.now()
    expect(errorOf(`${"# x\n".repeat(count)}a: 1\n  b: 2\n${"c: 3\n".repeat(count)}`)).toBe(problem)
    expect(performance.now() - startMs).toBeLessThan(3000)
  })

  test.each([
    ["consul: {key: a}", /^lease.consul.url \(l.yml:3\) is missing, it should be like http:/],
    ["consul: {url: 'http://c:8500'}", /^lease.consul.key \(l.yml:3\) is missing/],
    [
      "consul: {url: 'http://:p@ss/w@rd@c:8500', key: a}",
      /^lease.consul.url \(l.yml:3\) has an "@" in its path, it should be percent-encoded in a password, as "\/" is$/,
    ],
    ["consul: {url: 'c:8500', key: a}", /^lease.consul.url \(l.yml:3\) is no URL that starts with/],
  ])("a lease of Consul without what it needs: %s", (consul, problem) => {
    expect(errorOf(`lease:\n  type: consul\n  ${consul}`)).toMatch(problem)
  })

  test.each(["type: litefs-cloud", "type: file", "auth-token: abc"])("a backup, %s", (backup) => {
    const problem = errorOf(`${STATIC}backup:\n  ${backup}`)
    expect(problem).toMatch(
      /^backup\.[a-z-]+ \(l\.yml:3\) cannot be used: LiteFS Cloud was shut down/,
    )
    expect(problem).not.toContain("abc")
  })

  test("a flag that there is not in this version", () => {
    const options = { env: {}, hasRole: () => true, isExpanded: true, flags: MOUNT_FLAGS }
    const withFlag = { ...MOUNT_FLAGS, "proxy-addr": {} }
    const text = "proxy:\n  addr: :80"
    expect(
      readConfig("l.yml", text, { ...options, flags: withFlag }).settings.has("proxy-addr"),
    ).toBe(true)
    const { "proxy-addr": _, ...without } = withFlag
    expect(() => readConfig("l.yml", text, { ...options, flags: without })).toThrow(
      "proxy.addr (l.yml:2) cannot be used: there is no --proxy-addr in this version yet",
    )
  })
})
