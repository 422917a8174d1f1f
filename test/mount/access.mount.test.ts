/** Nodes that ask each other for a token or a certificate. */
import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { DataDir } from "../../src/store/data-dir.ts"
import { Certificates } from "../support/certificates.ts"
import { expectSame, failureOf, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"

const TOKEN = "t0ken-of-the-cluster"

test("a replica follows with the token of its primary only, and nobody writes the token anywhere", async () => {
  await using scope = new Scope()
  const file = join(scope.directory, "token")
  writeFileSync(file, `${TOKEN}\n`)
  const env = { LITEFS_AUTH_TOKEN: TOKEN, LITEFS_LOG_LEVEL: "trace" }
  const primary = await scope.node({ env })
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")

  const stranger = await scope.node({ follows: primary })
  await stranger.logged(/it answered 401: unauthorized: this node asks for a token/)
  const replica = await scope.node({ follows: primary, flags: ["--auth-token-file", file] })
  await expectSame(primary, replica, "a.db")
  expect(run(["ls", "-A", stranger.mount])).toBe(".lag\n")

  const copy = join(scope.directory, "copy.db")
  const command = [...PROGRAM, "export", "--url", primary.url, "--name", "a.db", copy]
  expect(failureOf(command)).toContain("ERROR: unauthorized: this node asks for a token")
  run([...command, "--auth-token-file", file])
  expect(run(["sqlite3", copy, "select x from t"])).toBe("1\n")
  for (const node of [stranger, replica, primary]) await node.stop()
  for (const node of [stranger, replica, primary]) {
    expect(await node.wholeOutput).not.toContain(TOKEN)
  }
}, 60_000)

test("nodes of one authority talk over TLS, and not with a node that has no certificate of it", async () => {
  await using scope = new Scope()
  using certificates = new Certificates()
  const flagsOf = (name: string) => {
    const { cert, key } = certificates.make(name)
    const own = ["--http-tls-cert", cert, "--http-tls-key", key]
    return [...own, "--http-tls-ca", certificates.ca]
  }
  const primary = await scope.node({ flags: flagsOf("primary") })
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  const follows = { url: primary.url.replace("http:", "https:") }
  const replica = await scope.node({ follows, flags: flagsOf("replica") })
  const stranger = await scope.node({ follows, flags: ["--http-tls-ca", certificates.ca] })
  await stranger.logged(/not connected to the primary/)
  await expectSame(primary, replica, "a.db")
  sqlite3(primary, "a.db", "insert into t values (randomblob(3000000))")
  await expectSame(primary, replica, "a.db")
  // Its primary tells who watches it of the other one.
  const other = await scope.node({ follows, flags: flagsOf("other") })
  const unix = new DataDir(replica.data).socketPath
  const watched = await fetch("http://localhost/watch", { unix })
  let told = ""
  for await (const part of watched.body as ReadableStream<Uint8Array>) {
    told += new TextDecoder().decode(part)
    if (told.includes(`"hostname":"node-${other.port}"`)) break
  }
  expect(told).toContain(`"url":"https://`)
  expect(run(["ls", "-A", stranger.mount])).toBe(".lag\n")
}, 60_000)

test("one line says to whom the API is open without a token: a warning for other machines", async () => {
  await using scope = new Scope()
  const warning = /level=warn tag=litefs msg="anybody who reaches the API can read and replace/g
  const open = await scope.node({ isOpen: true })
  const guarded = await scope.node({ env: { LITEFS_AUTH_TOKEN: TOKEN }, isOpen: true })
  const local = await scope.node()
  const hint =
    /level=info tag=litefs msg="every user of this machine can export, import and promote/g
  const counts = (line: RegExp) =>
    [open, guarded, local].map(({ output }) => output.match(line)?.length ?? 0)
  expect(counts(warning)).toEqual([1, 0, 0])
  expect(counts(hint)).toEqual([0, 0, 1])
}, 30_000)
