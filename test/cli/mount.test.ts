import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import type { CaptureOptions } from "../../src/litefs-options.ts"
import { FakeIo } from "../support/fake-io.ts"

let dir: string
let fuseDir: string
let dataDir: string

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "litefs-cli-"))
  fuseDir = join(dir, "mount")
  dataDir = join(dir, "data")
  mkdirSync(fuseDir)
})

afterAll(() => rmSync(dir, { recursive: true }))

/** Mounts with a command that ends at once. */
async function mount(args: string[], io = new FakeIo()) {
  const words = ["mount", "--log-level", "error", ...args, "--", "true"]
  const code = await run(words, io)
  return { io, code, err: io.err, options: io.opened[0] }
}

/** What is wrong with the words, which is found before anything is touched. */
async function usageErrorOf(args: string[], env: Record<string, string> = {}): Promise<string> {
  const { io, code, err } = await mount(args, new FakeIo(env))
  expect({ code, effects: io.effects }).toEqual({ code: 2, effects: [] })
  return err.replace(/^ERROR: Cannot run litefs mount: |\n$/g, "")
}

function dirs(): string[] {
  return ["--fuse-dir", fuseDir, "--data-dir", dataDir]
}

describe("litefs mount opens", () => {
  test("a primary", async () => {
    const { code, err, options, io } = await mount(["--primary", ...dirs()])
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(options).toEqual({
      fuseDir,
      dataDir,
      role: { kind: "primary" },
      peers: [],
      isCandidate: false,
      promote: false,
      handoffOnExit: true,
      hostname: hostname(),
      httpAddr: { host: "127.0.0.1", port: 20202 },
      retention: { ageMs: 600_000, intervalMs: 60_000, sizeMax: 2 ** 30 },
      capture: { wanted: "auto" },
      fuseDebug: false,
      log: { level: "error", format: "text" },
    })
    expect(io.effects).toEqual(["expect", `recover ${fuseDir}`, "open"])
  })

  test("a replica, with every flag", async () => {
    const { options } = await mount([
      ...["--primary-url", "http://10.0.0.1:20202", ...dirs(), "--hostname", "node-2"],
      ...["--advertise-url", "http://10.0.0.2:20202", "--http-addr", ":20202"],
      ...["--log-format", "json", "--fuse-debug"],
      ...["--retention", "1h", "--retention-interval", "500ms", "--retention-max-size", "2GB"],
      ...["--snapshot-rate", "50MB/s", "--candidate", "--promote", "--no-handoff-on-exit"],
      ...["--peer", "http://10.0.0.1:20202,http://10.0.0.3:20202", "--peer=http://10.0.0.4"],
      "--forward-writes",
    ])
    expect(options).toEqual({
      fuseDir,
      dataDir,
      role: {
        kind: "replica",
        primaryUrl: "http://10.0.0.1:20202",
        urlSpelling: "--primary-url",
      },
      peers: ["http://10.0.0.1:20202", "http://10.0.0.3:20202", "http://10.0.0.4"],
      isCandidate: true,
      promote: true,
      handoffOnExit: false,
      hostname: "node-2",
      advertiseUrl: "http://10.0.0.2:20202",
      httpAddr: { host: "", port: 20202 },
      retention: { ageMs: 3_600_000, intervalMs: 500, sizeMax: 2e9 },
      snapshotRate: 50e6,
      forwardWrites: true,
      capture: {
        wanted: "auto",
        obstacle: expect.stringMatching(/^--forward-writes is given, forwarding sees each lock/),
      },
      fuseDebug: true,
      log: { level: "error", format: "json" },
    })
  })

  test.each([
    ["auto", [], { wanted: "auto" }],
    ["behind", ["--capture", "behind"], { wanted: "behind" }],
    ["strict", ["--capture", "strict", "--sync-replicas", "1"], { wanted: "strict" }],
    [
      "auto, which --sync-replicas makes strict",
      ["--sync-replicas", "1"],
      {
        wanted: "auto",
        obstacle: "--sync-replicas is given, a commit that passes LiteFS cannot wait for replicas",
      },
    ],
    [
      "auto, which an unused --sync-replicas leaves alone",
      ["--sync-replicas", "0", "--capture=auto"],
      { wanted: "auto" },
    ],
  ])("a primary that captures %s", async (_, flags, capture) => {
    const { options } = await mount(["--primary", ...dirs(), ...flags])
    expect(options?.capture).toEqual(capture as CaptureOptions)
  })

  test("a candidate for a lease, which captures strictly", async () => {
    const { options } = await mount([
      "--lease",
      "etcd://a/b",
      ...dirs(),
      "--advertise-url=http://a",
    ])
    expect(options?.capture.obstacle).toMatch(
      /^--lease is given, a commit that passes LiteFS cannot/,
    )
  })

  test("a replica of some databases", async () => {
    const follower = ["--primary-url", "http://10.0.0.1:20202", ...dirs()]
    const { options } = await mount([...follower, "--databases", "a.db, log-*.db"])
    expect(options?.role).toMatchObject({
      kind: "replica",
      primaryUrl: "http://10.0.0.1:20202",
      databases: ["a.db", "log-*.db"],
    })
    expect(await usageErrorOf([...follower, "--databases", "../a.db"])).toBe(
      '--databases is "../a.db": Cannot select databases: "../a.db": it contains "/"',
    )
    expect(await usageErrorOf(["--primary", ...dirs(), "--databases", "a.db"])).toBe(
      "--databases is given, the primary has all databases",
    )
    for (const flag of ["--candidate", "--promote"]) {
      expect(await usageErrorOf([...follower, "--databases", "a.db", flag])).toBe(
        `${flag} and --databases are given, a primary has all databases`,
      )
    }
  })

  test("what the environment says", async () => {
    const io = new FakeIo({
      LITEFS_PRIMARY_URL: "http://a",
      LITEFS_FUSE_DIR: fuseDir,
      LITEFS_DATA_DIR: dataDir,
    })
    const { options } = await mount([], io)
    expect(options?.role).toMatchObject({ kind: "replica", primaryUrl: "http://a" })
    expect(options?.fuseDir).toBe(fuseDir)
  })

  test.each([
    ["http://10.0.0.1:20202", "http://10.0.0.1:20202"],
    ["http://10.0.0.1:20202/", "http://10.0.0.1:20202"],
    ["HTTPS://Primary.internal", "https://primary.internal"],
    ["http://[fd00::1]:20202", "http://[fd00::1]:20202"],
  ])("a replica of %s", async (url, primaryUrl) => {
    const { options } = await mount(["--primary-url", url, ...dirs()])
    expect(options?.role).toMatchObject({ kind: "replica", primaryUrl })
  })

  test.each([
    ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }],
    [":80", { host: "", port: 80 }],
    ["[::1]:80", { host: "::1", port: 80 }],
    ["[::]:80", { host: "::", port: 80 }],
    ["localhost:65535", { host: "localhost", port: 65535 }],
  ])("a node that listens on %s", async (address, httpAddr) => {
    const { options } = await mount(["--primary", "--http-addr", address, ...dirs()])
    expect(options?.httpAddr).toEqual(httpAddr)
  })
})

test("litefs mount --snapshot-rate 0 is no limit", async () => {
  const { options } = await mount(["--primary", "--snapshot-rate", "0", ...dirs()])
  expect(options).not.toHaveProperty("snapshotRate")
})

describe("litefs mount refuses", () => {
  test("a node without a role", async () => {
    expect(await usageErrorOf([])).toBe(
      "neither --primary nor --primary-url URL nor --lease STORE is given, and there is no litefs.yml, give one of them",
    )
  })

  test("a node whose role is in a misspelled variable, and says so", async () => {
    expect(await usageErrorOf([], { LITEFS_PRIMRY: "1" })).toMatch(
      /^neither --primary nor .*, give one of them; LITEFS_PRIMRY is set, did you mean LITEFS_PRIMARY\?$/,
    )
    expect(await usageErrorOf([], { LITEFS_SOMETHING: "1" })).toEndWith(", give one of them")
  })

  test("a node with two roles, wherever they come from", async () => {
    const end = "are given, a node is either the primary or a replica"
    expect(await usageErrorOf(["--primary", "--primary-url", "http://a"])).toBe(
      `both --primary and --primary-url ${end}`,
    )
    expect(await usageErrorOf(["--primary-url", "http://a"], { LITEFS_PRIMARY: "1" })).toBe(
      `both LITEFS_PRIMARY and --primary-url ${end}`,
    )
  })

  test("a lease in a store beside another role, or without a use", async () => {
    const lease = ["--lease", "etcd://me:secret@a/app"]
    const end = "are given, a store says which node is the primary"
    expect(await usageErrorOf([...lease, "--primary"])).toBe(`--lease and --primary ${end}`)
    expect(await usageErrorOf([...lease], { LITEFS_PRIMARY_URL: "http://a" })).toBe(
      `--lease and LITEFS_PRIMARY_URL ${end}`,
    )
    expect(await usageErrorOf([...lease, "--capture", "behind"])).toMatch(
      /^--capture behind and --lease are given, a commit that passes LiteFS cannot be refused/,
    )
    expect(await usageErrorOf([...lease, "--candidate", "--databases", "a.db"])).toBe(
      "--candidate and --databases are given, a primary has all databases",
    )
    expect(await usageErrorOf([...lease, "--lease-tls-ca", "a.crt"])).toMatch(
      /^--lease-tls-ca is given and nothing uses it, give --lease etcd\+https/,
    )
    expect(await usageErrorOf(["--lease", "etcd+https://a/b", "--lease-tls-key", "a.key"])).toBe(
      "--lease-tls-key is given without --lease-tls-cert",
    )
    expect(await usageErrorOf(["--lease", "etcd://me:secret@a"])).toBe(
      '--lease is "etcd://***@a": it should be static, etcd://HOST:2379/PREFIX or consul://HOST:8500/KEY',
    )
    for (const secret of ["me:se/cr@et", "me:secr@et", ":se?cret"]) {
      expect(await usageErrorOf(["--lease", `etcd://${secret}@a`])).toStartWith(
        '--lease is "etcd://***@a":',
      )
    }
    expect(await usageErrorOf(["--lease", "static"])).toMatch(/^neither --primary nor/)
  })

  const likeUrl = "like http://10.0.0.1:20202"
  const likeAddress = "it should be HOST:PORT or :PORT, like 127.0.0.1:20202"
  test.each([
    [["--primary-url", "10.0.0.1:20202"], `it should be a URL, ${likeUrl}`],
    [["--primary-url", "localhost:20202"], `it should start with http:// or https://, ${likeUrl}`],
    [["--primary-url", "ftp://a"], `it should start with http:// or https://, ${likeUrl}`],
    [["--primary-url", "http:a"], `it should start with http:// or https://, ${likeUrl}`],
    [["--primary-url", "http://"], `it should be a URL, ${likeUrl}`],
    [["--primary-url", "http://me:pw@a"], `it should have no user name and password, ${likeUrl}`],
    [["--primary-url", "http://a/b"], `it should end after the host and the port, ${likeUrl}`],
    [["--primary-url", "http://a?b"], `it should end after the host and the port, ${likeUrl}`],
    [["--primary-url", "http://a#"], `it should end after the host and the port, ${likeUrl}`],
    [["--primary", "--advertise-url", "a"], `it should be a URL, ${likeUrl}`],
    [["--primary", "--peer", "b:20202"], `it should start with http:// or https://, ${likeUrl}`],
    [["--primary", "--http-addr", "20202"], likeAddress],
    [
      ["--primary", "--snapshot-rate", "fast"],
      "it should be bytes per second with a unit, like 50MB/s, 64KiB/s at least, or 0 for no limit",
    ],
    [
      ["--primary", "--retention-max-size", "5"],
      "it should be a size with a unit, like 512MiB or 2GiB, 64KiB at least",
    ],
    [["--primary", "--http-addr", "localhost"], likeAddress],
    [["--primary", "--http-addr", "::1:20202"], likeAddress],
    [["--primary", "--http-addr", "a:65536"], likeAddress],
    [["--primary", "--http-addr", "a:-1"], likeAddress],
    [["--primary", "--http-addr", "http://a:1"], likeAddress],
    [["--primary", "--hostname", "two words"], "it should be one word"],
    [["--primary", "--hostname", "line\n"], "it should be one word"],
  ])("%j", async (args, problem) => {
    const [flag, value] = args.slice(-2)
    const shown = value?.replace("me:pw@", "***@").replace("\n", "\\n") // on one line
    expect(await usageErrorOf(args)).toBe(`${flag} is "${shown}", ${problem}`)
  })

  test("an unknown log level", async () => {
    const io = new FakeIo()
    expect(await run(["mount", "--primary", "--log-level", "loud"], io)).toBe(2)
    expect(io.err).toContain('--log-level is "loud", it should be one of error, warn, info')
  })

  test.each([
    ["/a", "/a/", '--fuse-dir and --data-dir are both "/a"'],
    ["/a/b/..", "/a", '--fuse-dir and --data-dir are both "/a"'],
    ["/a", "/a/b", '--data-dir "/a/b" is inside --fuse-dir "/a"'],
    ["/a/..b", "/a", '--fuse-dir "/a/..b" is inside --data-dir "/a"'],
    ["/a", "/", '--fuse-dir "/a" is inside --data-dir "/"'],
  ])("--fuse-dir %s with --data-dir %s", async (fuse, data, problem) => {
    expect(await usageErrorOf(["--primary", "--fuse-dir", fuse, "--data-dir", data])).toBe(
      `${problem}, give each a directory of its own`,
    )
  })
})

describe("litefs mount cannot go on", () => {
  /** A fault of the machine: found after stale mounts are gone, before a node is opened. */
  async function faultOf(fuse: string, data = dataDir): Promise<string> {
    const { code, err, io } = await mount(["--primary", "--fuse-dir", fuse, "--data-dir", data])
    expect({ code, effects: io.effects }).toEqual({
      code: 1,
      effects: ["expect", `recover ${fuse}`],
    })
    return err
  }

  test("with a mount directory that cannot be made", async () => {
    const link = join(dir, "li nk")
    symlinkSync("/proc/none", link)
    expect(await faultOf(link)).toMatch(/li nk": it is a symbolic link that leads nowhere/)
    expect(await faultOf("/proc/no ne")).toMatch(
      /^ERROR: Cannot mount ".*no ne": it does not exist and cannot be made: .* \(E[A-Z]+\), choose another --fuse-dir/,
    )
  })

  test("with a mount directory that is not empty", async () => {
    const full = join(dir, "full")
    mkdirSync(full)
    writeFileSync(join(full, "app.db"), "")
    expect(await faultOf(full)).toBe(
      `ERROR: Cannot mount "${full}": it is not empty, ` +
        'move "app.db" out of it or choose another --fuse-dir\n',
    )
  })

  test("with a file as mount or data directory", async () => {
    const file = join(dir, "file")
    writeFileSync(file, "")
    expect(await faultOf(file)).toBe(
      `ERROR: Cannot mount "${file}": it is not a directory, choose another --fuse-dir\n`,
    )
    // Told before anything looks at it.
    const { err, io } = await mount(["--primary", "--fuse-dir", fuseDir, "--data-dir", file])
    expect(io.effects).toEqual([])
    expect(err).toBe(
      `ERROR: Cannot use the data directory "${file}": it is not a directory, ` +
        "choose another --data-dir\n",
    )
  })

  test("with a data directory that a link leads into the mount", async () => {
    const link = join(dir, "link")
    symlinkSync(fuseDir, link)
    expect(await faultOf(fuseDir, join(link, "data"))).toContain(
      `the data directory is really "${fuseDir}/data", give each a directory of its own`,
    )
  })

  test("when the node cannot be opened", async () => {
    const io = new FakeIo()
    io.openNode = async () => {
      throw new LitefsError("unavailable", "Cannot listen on 127.0.0.1:20202: it is in use")
    }
    const { code, err } = await mount(["--primary", ...dirs()], io)
    expect({ code, err }).toEqual({
      code: 1,
      err: "ERROR: Cannot listen on 127.0.0.1:20202: it is in use\n",
    })
  })

  test("when there is a bug, which is told in full", async () => {
    const io = new FakeIo()
    io.openNode = async () => {
      throw new TypeError("x is not a function")
    }
    const { code, err } = await mount(["--primary", ...dirs()], io)
    expect(code).toBe(1)
    expect(err).toStartWith("ERROR: x is not a function\n")
    expect(err).toContain("mount.test.ts")
  })
})
