import { describe, expect, test } from "bun:test"
import packageJson from "../../package.json" with { type: "json" }
import { run } from "../../src/cli/main-command.ts"
import { reportError } from "../../src/cli/terminal/io.ts"
import { FakeIo } from "../support/fake-io.ts"

async function outcome(...args: string[]) {
  const io = new FakeIo()
  const code = await run(args, io)
  return { code, out: io.out, err: io.err }
}

describe("litefs help", () => {
  test("shows what there is", async () => {
    const { code, out, err } = await outcome("help")
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(out).toMatchInlineSnapshot(`
      "LiteFS replicates SQLite databases live from one primary to many replicas.

      Usage:

      	litefs <command> [arguments]

      The commands are:

      	mount       mount the file system and run a command next to it
      	info        show the databases of a node, its role and its lag
      	wait        wait until a node is in sync, has a transaction, or is the primary
      	run         run a command on the right node, at the right time
      	sql         run SQL on a database, where there is no sqlite3
      	promote     make a replica the primary
      	import      put a database file in the place of a database
      	export      write a database to a file
      	ltx         list, check, apply and compact LTX files
      	doctor      examine a data directory, and repair it
      	diverged    show and extract what a replica kept that its primary lacks
      	config      show what a configuration means, and what is wrong with it
      	completion  print a script that completes commands in your shell
      	man         print the manual page
      	version     print the version

      Use "litefs help <command>" for the flags of a command.

      Examples:

      	# one primary
      	litefs mount --primary --http-addr :20202 -- node server.js

      	# any number of replicas of it
      	litefs mount --primary-url http://10.0.0.1:20202 -- node server.js
      "
    `)
  })

  test.each([["--help"], ["-help"], ["-h"]])("is also %s", async (flag) => {
    expect(await outcome(flag)).toEqual(await outcome("help"))
    expect(await outcome("help", flag)).toEqual(await outcome("help"))
  })

  test("goes to stderr when no command is given, which is an error", async () => {
    const { code, out, err } = await outcome()
    expect({ code, out }).toEqual({ code: 2, out: "" })
    expect(err).toBe((await outcome("help")).out)
  })

  test("of mount shows its flags", async () => {
    const { code, out, err } = await outcome("help", "mount")
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(out).toMatchInlineSnapshot(`
      "The mount command will mount a directory via FUSE, replicate the SQLite
      databases in it, and run a command next to it. One node is the primary, which
      takes the writes; every other node is a replica of it, which serves reads.

      Usage:

      	litefs mount [flags] [-- COMMAND ARGS...]

      Flags:

      	--fuse-dir DIR                             mount here; an empty directory, or one to be made (default /litefs)
      	--data-dir DIR                             keep the databases and their history here (default /var/lib/litefs)
      	--primary                                  be the primary, unless a newer lease record names another
      	--primary-url URL                          be a replica of the node at this URL
      	--lease STORE                              a store that says who is the primary, etcd://… or consul://… (default static)
      	--lease-tls-ca FILE                        the store's certificate must be signed by this one (PEM)
      	--lease-tls-cert FILE                      the certificate that this node shows the store (PEM)
      	--lease-tls-key FILE                       its private key (PEM)
      	--candidate                                may become the primary: by a handoff, or by litefs promote
      	--promote                                  become the primary at the start, once in sync; implies --candidate
      	--no-handoff-on-exit                       stop a primary without giving its role to a candidate
      	--peer URL                                 ask this node who is the primary; may be given several times
      	--databases NAMES                          on a replica: only these, like a.db,log-*.db (default: all)
      	--hostname NAME                            this node's name for other nodes (default: the host's)
      	--advertise-url URL                        where other nodes reach this node's API (default: its host and port)
      	--http-addr ADDR                           serve the API here; :20202 is every interface (default 127.0.0.1:20202)
      	--allow-other                              other users may use the mount, as modes allow (default: when run by root)
      	--fuse-owner USER[:GROUP]                  the owner of databases that arrive here (default: that of --fuse-dir)
      	--fuse-mode MODE                           the mode of databases that arrive here, like 0660 (default: from --fuse-dir)
      	--read-only-opens                          what is opened on a replica stays read-only (default: unless it is a candidate)
      	--capture CAPTURE                          how commits to a WAL are captured: behind their writers, or before they are done: auto, behind, strict (default auto)
      	--auth-token TOKEN                         the token that requests must show; ps shows it too, so better use a file
      	--auth-token-file FILE                     the token is in this file; the same one on all nodes
      	--http-tls-cert FILE                       the certificate that this side shows (PEM)
      	--http-tls-key FILE                        its private key (PEM)
      	--http-tls-ca FILE                         the other side's certificate must be signed by this one (PEM)
      	--proxy-addr ADDR                          put a proxy before the application, like :8080
      	--proxy-target ADDR                        where the application listens, like localhost:3000
      	--proxy-db DB                              clients read what they wrote to it; repeatable
      	--proxy-passthrough PATTERN                paths that are always served here, like *.css; repeatable
      	--proxy-always-forward PATTERN             paths whose reads go to the primary too; repeatable
      	--proxy-mode MODE                          how writes get to the primary: forward, fly-replay (default forward)
      	--proxy-max-lag DURATION                   /litefs/health fails beyond this lag; 0: never (default 10s)
      	--proxy-read-timeout DURATION              a read waits this long, then the primary serves it (default 1s)
      	--proxy-primary-redirect-timeout DURATION  a write waits this long for a primary (default 5s)
      	--proxy-advertise-url URL                  where other nodes reach this proxy (default: the host of the API)
      	--proxy-debug                              log every request of the proxy
      	--forward-writes                           let programs write on a replica; a read costs two requests, or four
      	--sync-replicas N                          a commit returns when N replicas have it durably (default 0)
      	--sync-mode MODE                           with fewer replicas: commits wait or are refused, or go on without them: strict, degrade (default strict)
      	--sync-commit-timeout DURATION             how long a commit waits for replicas before that (default 10s)
      	--retention DURATION                       keep LTX files for this long (default 10m)
      	--retention-interval DURATION              look for old LTX files this often (default 1m)
      	--retention-max-size SIZE                  per database, for replicas that lag behind (default 1GiB)
      	--snapshot-rate RATE                       send snapshots no faster, like 50MB/s (default: unlimited)
      	--log-level LEVEL                          how much to log: error, warn, info, debug, trace (default info)
      	--log-format FORMAT                        how to log it; plain is text without the time: text, plain, json (default text)
      	--fuse-debug                               log every request of the kernel
      	--exec CMD                                 run this before COMMAND, to its end; may be given several times
      	--exec-if-candidate CMD                    the same, on a node that is or may become the primary: also on a replica that is a candidate
      	--stop-timeout DURATION                    kill a command that was told to stop after this long (default 8s)
      	--skip-sync                                do not wait until this node is in sync with its primary
      	--sync-timeout DURATION                    wait no longer than this, then start with what is here (default: wait)
      	--exit-on-error=false                      stay up for inspection when something fails at the start
      	--config FILE                              read the original's litefs.yml; flags and variables win over it
      	--no-expand-env                            do not replace $NAME in that file by variables

      Every flag can be set in the environment too: --fuse-dir is LITEFS_FUSE_DIR.
      A flag on the command line wins.

      Exactly one of --primary, --primary-url and --lease is required, or a litefs.yml.
      One as a flag and another one as a variable are two, and refused.

      A lease record on every node says which is the primary. It changes when a primary
      hands its role over: to a candidate that asks for it, or when it is stopped.
      What the record says wins over --primary and --primary-url.

      With --lease a store says which node is the primary, and when that one is gone, the
      candidate that has most becomes it: --lease etcd://HOST:2379/PREFIX, or
      consul://HOST:8500/KEY. A primary that cannot renew its lease takes no writes.

      With a token, requests without it are refused. With a certificate the API is
      served with TLS, and with --http-tls-ca too, nodes and commands have to show a
      certificate that it has signed.

      COMMAND is started when the mount is ready, which on a replica means that it
      has caught up with the primary. Its arguments are passed on as they are,
      without a shell. Signals are forwarded to it, and when it ends, LiteFS
      unmounts and exits with its exit code. Without a command LiteFS runs until it
      is told to stop.

      Before it, the CMDs of --exec and --exec-if-candidate run one after the other;
      one that fails ends LiteFS with its exit code. CMD is split into words as a
      shell does it, and no shell runs: for more, write sh -c '...'. All of them find
      LITEFS_ROLE, LITEFS_FUSE_DIR, LITEFS_URL and other facts in their environment.

      Without a role on the command line and in the environment, the role and
      everything else is read from --config, or the first of ./litefs.yml,
      ~/litefs.yml and /etc/litefs.yml.

      Examples:

      	# the primary, and a program that uses /litefs/app.db
      	litefs mount --primary --http-addr :20202 -- node server.js

      	# a replica of it, on another machine
      	litefs mount --primary-url http://10.0.0.1:20202 -- node server.js

      	# with a migration before it, where writes are taken
      	litefs mount --primary --exec 'litefs run --if-primary -- npm run migrate' -- node server.js

      	# one of three nodes that may be the primary; etcd says which one is
      	litefs mount --lease etcd://10.0.0.9:2379/app --candidate --http-addr :20202 -- node server.js

      	# with the file of the original
      	litefs mount --config /etc/litefs.yml

      	# in a script
      	exec litefs mount --primary-url "$PRIMARY_URL" -- "$@"
      "
    `)
  })

  test.each([
    [["mount", "--help"]],
    [["mount", "-h"]],
    [["mount", "--primary", "-help", "--bogus"]],
    [["--help", "mount"]],
  ])("of mount is also %j", async (args) => {
    expect(await outcome(...args)).toEqual(await outcome("help", "mount"))
  })

  test("of version", async () => {
    expect((await outcome("help", "version")).out).toMatchInlineSnapshot(`
      "The version command will print the version of LiteFS and what it runs on.

      Usage:

      	litefs version [flags]

      Flags:

      	--json      print it as JSON, with the commit that it is made of and its date
      	--licenses  print what is in the executable, and its licenses

      Every flag can be set in the environment too: --json is LITEFS_JSON.
      A flag on the command line wins.

      Examples:

      	litefs version

      	# in a script
      	litefs version --json | jq -r .commit
      "
    `)
  })

  test("is not meant when --help follows --", async () => {
    const { err } = await outcome("mount", "--", "app", "--help")
    expect(err).toStartWith("ERROR: Cannot run litefs mount: neither --primary")
  })

  test.each([
    [["bogus"], "Cannot run litefs bogus: there is no such command, see litefs help"],
    [["help", "bogus"], "Cannot run litefs bogus: there is no such command, see litefs help"],
    [["help", "mount", "x"], 'Cannot show help: "x" is one word too many'],
    [["moutn"], "Cannot run litefs moutn: there is no such command, did you mean mount?"],
    [
      ["umount", "/litefs"],
      "Cannot run litefs umount: there is no such command, LiteFS unmounts when it is told to stop (kill, systemctl stop), and umount DIR removes the mount of one that has died",
    ],
    [
      ["status"],
      "Cannot run litefs status: there is no such command, litefs info shows a node, its databases and its replicas",
    ],
    [["toString"], "Cannot run litefs toString: there is no such command, see litefs help"],
    [["--bogus"], "Cannot run litefs --bogus: there is no such command, see litefs help"],
    [["--", "mount"], "Cannot run litefs --: there is no such command, see litefs help"],
  ])("is where %j points to", async (args, message) => {
    expect(await outcome(...args)).toEqual({ code: 2, out: "", err: `ERROR: ${message}\n` })
  })
})

describe("litefs version", () => {
  test("prints one line", async () => {
    const { code, out, err } = await outcome("version")
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(out).toMatch(/^litefs \d+\.\d+\.\d+ \(bun \d+\.\d+\.\d+, linux-\w+\)\n$/)
    expect(out).toContain(packageJson.version)
  })

  test("is also --version", async () => {
    for (const flag of ["--version", "-version", "-v"]) {
      expect(await outcome(flag)).toEqual(await outcome("version"))
    }
  })

  test("prints JSON, where a commit is known only to what was built", async () => {
    const { code, out } = await outcome("version", "--json")
    expect(code).toBe(0)
    expect(JSON.parse(out)).toEqual({
      version: packageJson.version,
      commit: null,
      date: null,
      runtime: `bun ${process.versions.bun}`,
      platform: "linux",
      arch: process.arch,
    })
  })

  test("names what is in it, with the versions of package.json, and the texts of all licenses", async () => {
    const { out } = await outcome("version", "--licenses")
    for (const [name, version] of Object.entries(packageJson.dependencies)) {
      expect(out).toContain(`\n${name} ${version}: `)
    }
    for (const name of ["JavaScriptCore", "SQLite", "musl", "libstdc++"]) {
      expect(out).toContain(`\n${name}: `)
    }
    for (const text of [
      "Apache License\n                           Version 2.0",
      "Permission is hereby granted, free of charge",
      "Permission to use, copy, modify, and/or distribute",
      "Redistribution and use in source and binary forms",
      "GNU LESSER GENERAL PUBLIC LICENSE",
    ]) {
      expect(out).toContain(text)
    }
    expect((await outcome("version", "--licenses", "--json")).code).toBe(2)
  })

  test("takes no words", async () => {
    const err = 'ERROR: Cannot run litefs version: "x" is not a flag\n'
    expect(await outcome("version", "x")).toEqual({ code: 2, out: "", err })
  })
})

test("reportError() says what to do when no more files can be opened", () => {
  const io = new FakeIo()
  reportError(io, Object.assign(new Error("EMFILE"), EMFILE))
  expect(io.err).toBe(
    'ERROR: Cannot open "/proc/self/mountinfo": too many open files (EMFILE), raise the limit (ulimit -n)\n',
  )
})

const EMFILE = { code: "EMFILE", errno: -24, syscall: "open", path: "/proc/self/mountinfo" }
