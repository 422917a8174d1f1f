/**
 * Configuration files as users of the original have them, old and new spellings, with their variables: what such a
 * file and an environment make of a node, or what is said instead.
 */
import { describe, expect, test } from "bun:test"
import { otherFlags } from "../../src/cli/commands.ts"
import { mountArgs } from "../../src/cli/mount/mount-args.ts"
import { commandOptions } from "../../src/cli/settings/mount-commands.ts"
import { mountOptions } from "../../src/cli/settings/mount-options.ts"
import { messageOf } from "../../src/lib/errors.ts"
import { logger } from "../../src/lib/log.ts"
import { LogLines } from "../support/log-lines.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

interface Outcome {
  readonly options: Record<string, unknown>
  readonly before: readonly string[]
  readonly command: string | undefined
  readonly log: readonly string[]
}

/** The path of the file is FILE in what is said. */
async function read(
  text: string,
  env: Record<string, string> = {},
  flags: string[] = [],
): Promise<Outcome> {
  using directory = new TemporaryDirectory()
  const path = directory.write("litefs.yml", text)
  using log = new LogLines()
  const { args, file, remarks } = mountArgs(["--config", path, ...flags], env)
  const options = mountOptions(args)
  const { before = [], command } = commandOptions(args, file?.exec ?? [])
  for (const { level, msg, fields } of await remarks(otherFlags)) {
    logger("mount")[level](msg, fields)
  }
  const lines = log.lines.map((line) => line.replaceAll(path, "FILE"))
  return {
    options: options as unknown as Record<string, unknown>,
    before: before.map(({ words }) => words.join(" ")),
    command: command?.words.join(" "),
    log: lines.filter((line) => !/msg=configured file=FILE$/.test(line)),
  }
}

async function problem(text: string, env: Record<string, string> = {}): Promise<string> {
  try {
    await read(text, env)
  } catch (error) {
    return messageOf(error).replace(/"?\/[^ ":]*\/litefs\.yml/g, "FILE")
  }
  throw new Error("Cannot show the problem: there was none")
}

const DIRS = `fuse:\n  dir: "/litefs"\ndata:\n  dir: "/var/lib/litefs"\n`

const REPLICA = (url: string, spelling: string) => ({
  role: { kind: "replica", primaryUrl: url, urlSpelling: spelling },
})

const BY_VARIABLES = `${DIRS}lease:
  type: static
  hostname: \${LITEFS_HOSTNAME}
  candidate: \${LITEFS_CANDIDATE}
  advertise-url: "\${LITEFS_PRIMARY_URL}"
`

type Case = [
  what: string,
  text: string,
  env: Record<string, string>,
  options: Record<string, unknown>,
  log?: RegExp[],
]

const CASES: Case[] = [
  [
    "a primary of two static nodes, by variables that look like our flags",
    BY_VARIABLES,
    { LITEFS_CANDIDATE: "true", LITEFS_PRIMARY_URL: "http://a:20202", LITEFS_HOSTNAME: "a" },
    {
      role: { kind: "primary" },
      hostname: "a",
      advertiseUrl: "http://a:20202",
      isCandidate: false,
    },
  ],
  [
    "the replica of the two",
    BY_VARIABLES,
    { LITEFS_CANDIDATE: "false", LITEFS_PRIMARY_URL: "http://a:20202", LITEFS_HOSTNAME: "b" },
    REPLICA("http://a:20202", "lease.advertise-url (FILE:9)"),
  ],
  [
    "a role by a comparison of a variable that would be no boolean",
    `${DIRS}lease: {type: static, candidate: "\${LITEFS_PRIMARY == 'ams'}", advertise-url: "http://p:1"}`,
    { LITEFS_PRIMARY: "iad" },
    REPLICA("http://p:1", "lease.advertise-url (FILE:5)"),
  ],
  [
    "the same where it is true",
    `${DIRS}lease: {type: static, candidate: "\${LITEFS_PRIMARY == 'ams'}", advertise-url: "http://p:1"}`,
    { LITEFS_PRIMARY: "ams" },
    { role: { kind: "primary" } },
  ],
  [
    "a variable that only a comment refers to, which is a flag",
    `${DIRS}# advertise-url: "\${LITEFS_PRIMARY_URL}"\nlease: {type: static, candidate: true}`,
    { LITEFS_PRIMARY_URL: "http://p:1" },
    REPLICA("http://p:1", "LITEFS_PRIMARY_URL"),
    [
      /level=info .*msg=configured file=FILE variables=LITEFS_PRIMARY_URL/,
      /level=warn .*"a variable wins over the file" key="lease \(FILE:6\)" reason="LITEFS_PRIMARY_URL gives the role"/,
    ],
  ],
  [
    "a role of a variable over that of the file",
    `${DIRS}lease: {type: static, candidate: false, advertise-url: "http://p:1"}`,
    { LITEFS_PRIMARY: "1" },
    { role: { kind: "primary" } },
    [/variables=LITEFS_PRIMARY/, /key="lease \(FILE:5\)" reason="LITEFS_PRIMARY gives the role"/],
  ],
  [
    "a variable over a key, which is told",
    `${DIRS}lease: {type: static}\nhttp:\n  addr: ":20202"\n`,
    { LITEFS_HTTP_ADDR: ":20203", LITEFS_LOG_LEVEL: "info" },
    { httpAddr: { host: "", port: 20203 } },
    [
      /variables="LITEFS_HTTP_ADDR LITEFS_LOG_LEVEL"/,
      /key="http.addr \(FILE:7\)" reason="LITEFS_HTTP_ADDR overrides it"/,
    ],
  ],
  [
    "the example of Fly.io's documentation, without its Consul",
    `${DIRS}proxy:
  addr: ":8080"
  target: "localhost:8081"
  db: "db"
  passthrough:
    - "*.ico"
    - "*.png"
exec:
  - cmd: "litefs-example -addr :8081 -dsn /litefs/db"
lease:
  type: "static"
  advertise-url: "http://\${FLY_ALLOC_ID}.vm.\${FLY_APP_NAME}.internal:20202"
  candidate: \${FLY_REGION == PRIMARY_REGION}
  promote: true
`,
    { FLY_ALLOC_ID: "f0", FLY_APP_NAME: "app", FLY_REGION: "ams", PRIMARY_REGION: "ams" },
    {
      role: { kind: "primary" },
      advertiseUrl: "http://f0.vm.app.internal:20202",
      promote: true,
      proxy: expect.objectContaining({ databases: ["db"], passthrough: ["*.ico", "*.png"] }),
    },
  ],
  [
    "a mount for LiteFS's own user",
    `${DIRS}lease: {type: static}\n`.replace(
      'dir: "/litefs"',
      'dir: "/litefs"\n  allow-other: false',
    ),
    {},
    { allowOther: false },
  ],
  [
    "a mount for others",
    `${DIRS}lease: {type: static}\n`.replace(
      'dir: "/litefs"',
      'dir: "/litefs"\n  allow-other: yes',
    ),
    {},
    { allowOther: true },
  ],
  [
    "a mount that says nothing of others",
    `${DIRS}lease: {type: static}\n`,
    {},
    { allowOther: undefined },
  ],
  [
    "retention, the log and a debug mount",
    `fuse: {dir: /f, debug: true}\ndata: {dir: /d, retention: 1h, retention-monitor-interval: 30s}
lease: {type: static}\nlog: {format: json, debug: true}\n`,
    {},
    {
      ...{ fuseDir: "/f", dataDir: "/d", fuseDebug: true, log: { level: "debug", format: "json" } },
      retention: expect.objectContaining({ ageMs: 3_600_000, intervalMs: 30_000 }),
    },
  ],
  [
    "keys that change nothing here",
    `${DIRS}strict-verify: true\nhttp: {snapshot-timeout: 5m}\nlease: {type: static, demote-delay: 5s}\ntracing: {path: /t.log}\n`,
    {},
    { role: { kind: "primary" } },
    [
      /key="strict-verify/,
      /key="http.snapshot-timeout/,
      /key="lease.demote-delay/,
      /key="tracing.path/,
    ],
  ],
  [
    "some databases of a replica",
    `${DIRS}lease:\n  type: static\n  candidate: false\n  advertise-url: "http://p:20202"\n  databases: ["a.db"]\n`,
    {},
    { role: expect.objectContaining({ kind: "replica", databases: ["a.db"] }) },
  ],
  [
    "a database of the proxy by its path",
    `${DIRS}lease: {type: static}\nproxy: {addr: ":8080", target: ":3000", db: /litefs/my.db}\n`,
    {},
    { proxy: expect.objectContaining({ databases: ["my.db"] }) },
    [
      /level=info .*"a path where the name is enough" key="proxy.db \(FILE:6\)" path=\/litefs\/my.db/,
    ],
  ],
  [
    "Consul, where a variable gives the role",
    `${DIRS}lease:\n  type: "consul"\n  consul: {url: "\${FLY_CONSUL_URL}", key: litefs/my-app}\n`,
    { FLY_CONSUL_URL: "http://c:8500", LITEFS_PRIMARY_URL: "http://p:1" },
    REPLICA("http://p:1", "LITEFS_PRIMARY_URL"),
    [
      /variables=LITEFS_PRIMARY_URL/,
      /lease.consul.url/,
      /lease.consul.key/,
      /key="lease \(FILE:5\)"/,
    ],
  ],
  [
    "the token of a service that is gone",
    `${DIRS}lease: {type: static}\n`,
    { LITEFS_CLOUD_TOKEN: "FlyV1 abc" },
    { role: { kind: "primary" } },
    [/"a setting changes nothing" key=LITEFS_CLOUD_TOKEN reason="LiteFS Cloud was shut down/],
  ],
  [
    "variables that nobody reads",
    `${DIRS}lease: {type: static}\n`,
    {
      ...{ LITEFS_PRIMRY_URL: "x", LITEFS_XYZZY: "y", LITEFS_EMPTY: "" },
      ...{
        LITEFS_SERVICE_HOST: "1",
        LITEFS_PORT_20202_TCP_ADDR: "1",
        LITEFS_PRIMARY_PORT: "tcp://",
      },
      ...{
        LITEFS_ROLE: "primary",
        LITEFS_DIR: "/x",
        LITEFS_URL: "u",
        LITEFS_PRIMARY_HOSTNAME: "h",
      },
      ...{ LITEFS_LICENSES: "1", LITEFS_BUSY_TIMEOUT: "1s", LITEFS_LTX: "1" }, // of version, sql and diverged
      ...{ LITEFS_TEST_LANE: "0/1", LITEFS_FAULTS: "" },
    },
    { role: { kind: "primary" } },
    [
      /level=warn .*"variables that LiteFS does not know" variables="LITEFS_PRIMRY_URL \(did you mean LITEFS_PRIMARY_URL\?\), LITEFS_XYZZY"/,
    ],
  ],
  [
    "a variable of the file with a name of its own",
    `${DIRS}lease: {type: static, hostname: "\${LITEFS_NODE_NAME}"}\n`,
    { LITEFS_NODE_NAME: "n1" },
    { hostname: "n1" },
  ],
  [
    "a file with variables that are not set",
    `${DIRS}# $NO\nlease: {type: static, hostname: "a$NONE\${ALSO_NONE}", candidate: "\${NO != 'x'}"}\n`,
    {},
    { hostname: "a" },
    [
      /level=warn .*"variables that the file refers to are not set" file=FILE variables="NONE, ALSO_NONE"/,
    ],
  ],
  [
    "the name of the machine",
    `${DIRS}lease: {type: static, hostname: $HOSTNAME, advertise-url: "http://\${HOSTNAME}:20202"}\n`,
    { HOSTNAME: "box" },
    { hostname: "box", advertiseUrl: "http://box:20202" },
  ],
]

describe("a litefs.yml is", () => {
  test.each(CASES)("%s", async (_, text, env, options, log = []) => {
    const found = await read(text, env)
    const shown = JSON.parse(JSON.stringify(found.options).replace(/[^" (]*\/litefs\.yml/g, "FILE"))
    expect({ allowOther: undefined, ...shown }).toMatchObject(options)
    expect(found.log).toHaveLength(log.length)
    for (const [index, line] of log.entries()) expect(found.log[index]).toMatch(line)
  })

  test.each<[string, string[], string | undefined]>([
    ["exec: node server.js", [], "node server.js"],
    ["exec: \"node server.js --name='a b'\"", [], "node server.js --name=a b"],
    [
      "exec:\n  - cmd: migrate\n    if-candidate: true\n  - cmd: node server.js",
      ["migrate"],
      "node server.js",
    ],
    ['exec:\n  - cmd: ["node", "server.js", "--port", 8080]', [], "node server.js --port 8080"],
    ["exec:\n  cmd: [sh, -c, 'a | b']\n  if-candidate: true", [], "sh -c a | b"],
    ["exec:\n  cmd: node server.js", [], "node server.js"],
  ])("with the commands of %j", async (exec, before, command) => {
    const found = await read(`${DIRS}lease: {type: static}\n${exec}\n`)
    expect({ before: found.before, command: found.command }).toEqual({ before, command })
  })
})

describe("a litefs.yml is refused with", () => {
  test.each<[what: string, text: string, env: Record<string, string>, problem: RegExp]>([
    [
      "a time to live that Consul does not take",
      `${DIRS}lease:\n  type: consul\n  consul: {url: "http://:secret@c:8500", key: y, ttl: 1s}\n`,
      {},
      /lease.consul.url \(FILE:7\) is "consul:\/\/\*\*\*@c:8500\/y\?ttl=1s": its ttl should be from 10s to 24h/,
    ],
    [
      "a backup",
      `${DIRS}lease: {type: static}\nbackup:\n  type: litefs-cloud\n`,
      {},
      /backup.type \(FILE:7\) cannot be used: LiteFS Cloud was shut down/,
    ],
    [
      "a role whose variable is not set",
      BY_VARIABLES,
      { LITEFS_PRIMARY_URL: "http://a:20202", LITEFS_HOSTNAME: "b" },
      /lease.candidate \(FILE:8\) has no value, it should be true or false/,
    ],
    [
      "a primary whose variable is not set",
      BY_VARIABLES,
      { LITEFS_CANDIDATE: "false", LITEFS_HOSTNAME: "b" },
      /lease.advertise-url \(FILE:9\) is missing, it should be that of the primary/,
    ],
    [
      "a key of the time before version 0.3",
      `mount-dir: /litefs\ndata-dir: /data\nconsul: {url: x}\n`,
      {},
      /mount-dir \(FILE:1\) is no longer a key, it is fuse.dir now/,
    ],
    [
      "a default as a shell has it",
      `${DIRS}lease: {type: static, hostname: "\${NAME:-x}"}\n`,
      {},
      /FILE: line 5: "\$\{NAME:-x\}" should be .*, or give --no-expand-env/,
    ],
    [
      "a command of the wrong type",
      `${DIRS}lease: {type: static}\nexec:\n  - cmd: {a: b}\n`,
      {},
      /exec.0.cmd \(FILE:7\) is \{"a":"b"\}, it should be a text, or a list of words/,
    ],
    [
      "no words of a command",
      `${DIRS}lease: {type: static}\nexec:\n  - cmd: []\n`,
      {},
      /exec.0.cmd \(FILE:7\) is \[\], it should be a text, or a list of words/,
    ],
    [
      "a database of the proxy that is elsewhere",
      `${DIRS}lease: {type: static}\nproxy: {addr: ":80", target: ":3000", db: /data/my.db}\n`,
      {},
      /proxy.db \(FILE:6\) is "\/data\/my.db", it should be the name of a database in --fuse-dir "\/litefs", like my.db/,
    ],
    [
      "the proxy at the port of the API",
      `${DIRS}lease: {type: static}\nproxy: {addr: ":20202", target: ":3000", db: my.db}\n`,
      {},
      /http.addr \(FILE\) and proxy.addr \(FILE:6\) are both port 20202, give each a port of its own/,
    ],
    [
      "the proxy before itself",
      `${DIRS}lease: {type: static}\nproxy: {addr: ":80", target: "localhost:80", db: my.db}\n`,
      {},
      /proxy.addr \(FILE:6\) and proxy.target \(FILE:6\) are both port 80/,
    ],
  ])("%s", async (_, text, env, what) => {
    expect(await problem(text, env)).toMatch(what)
  })
})

describe("the original's flags", () => {
  test.each<[string[], Record<string, unknown>, RegExp]>([
    [
      ["-debug"],
      { log: { level: "debug", format: "text" } },
      /key=-debug reason="it is --log-level debug here"/,
    ],
    [
      ["-tracing"],
      { log: { level: "trace", format: "text" } },
      /key=-tracing reason="it is --log-level trace here"/,
    ],
    [["-fuse.debug"], { fuseDebug: true }, /key=-fuse.debug reason="it is --fuse-debug here"/],
    [["-skip-unmount"], {}, /key=-skip-unmount reason="only the mount of a litefs that was killed/],
    [
      ["-debug=true", "--log-level", "warn"],
      { log: { level: "warn", format: "text" } },
      /key="-debug=true"/,
    ],
  ])("%j are taken with a remark", async (flags, options, remark) => {
    const found = await read(`${DIRS}lease: {type: static}\n`, {}, flags)
    expect(found.options).toMatchObject(options)
    expect(found.log).toHaveLength(1)
    expect(found.log[0]).toMatch(remark)
  })

  test("flags that win over the file are told in one line", async () => {
    const text = `${DIRS}lease: {type: static}\nhttp:\n  addr: ":20202"\nexec: other\n`
    const found = await read(text, {}, ["--primary-url=http://p:1", "--http-addr=:1", "--exec=a"])
    expect(found.log).toEqual([
      expect.stringMatching(
        /"the command line wins over the file" keys="lease \(FILE:5\), http.addr \(FILE:7\), exec"/,
      ),
    ])
  })

  test("-debug=false is nothing", async () => {
    expect((await read(`${DIRS}lease: {type: static}\n`, {}, ["-debug=false"])).log).toEqual([])
  })
})
