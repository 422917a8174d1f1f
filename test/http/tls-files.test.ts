import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { chmodSync, copyFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { TlsFiles } from "../../src/http/server/tls-files.ts"
import { Certificates } from "../support/certificates.ts"
import { LogLines } from "../support/log-lines.ts"

let certificates: Certificates
beforeAll(() => {
  certificates = new Certificates()
  certificates.make("one")
  certificates.make("two")
})
afterAll(() => certificates[Symbol.dispose]())

function file(name: string): string {
  return join(certificates.directory, name)
}

describe("TlsFiles", () => {
  test.each<[string, object, string]>([
    ["cert", { certPath: "none.crt", keyPath: "one.key" }, "there is no such file"],
    ["key", { certPath: "one.crt", keyPath: "none.key" }, "there is no such file"],
    ["ca", { caPath: "none.crt" }, "there is no such file"],
    ["cert", { certPath: "one.key", keyPath: "one.key" }, "hold a certificate in PEM format"],
    ["key", { certPath: "one.crt", keyPath: "one.crt" }, "hold a private key in PEM format"],
    ["ca", { caPath: "one.key" }, "it should hold a certificate in PEM format"],
    ["key", { certPath: "one.crt", keyPath: "two.key" }, 'it does not belong to "'],
  ])("TlsFiles refuses a %s that is not one: %p", (which, paths, problem) => {
    const options = Object.fromEntries(
      Object.entries(paths).map(([name, path]) => [name, file(path)]),
    )
    const open = () => new TlsFiles(options)
    expect(open).toThrow(`Cannot use --http-tls-${which} "${certificates.directory}/`)
    expect(open).toThrow(problem)
  })

  test("TlsFiles has what the files hold", () => {
    const paths = { certPath: file("one.crt"), keyPath: file("one.key"), caPath: certificates.ca }
    const { cert, key, ca } = new TlsFiles(paths).current()
    expect(cert).toStartWith("-----BEGIN CERTIFICATE-----")
    expect(key).toStartWith("-----BEGIN PRIVATE KEY-----")
    expect(ca).toStartWith("-----BEGIN CERTIFICATE-----")
    expect(new TlsFiles(paths).hasCertificate).toBe(true)
    expect(new TlsFiles({ caPath: certificates.ca }).hasCertificate).toBe(false)
  })

  test("TlsFiles has a certificate that has expired, and says so once", () => {
    using log = new LogLines()
    const { cert, key } = certificates.make("expired", -1)
    const files = new TlsFiles({ certPath: cert, keyPath: key })
    expect(files.current().cert).toStartWith("-----BEGIN CERTIFICATE-----")
    expect(log.lines).toHaveLength(1)
    expect(log.lines[0]).toMatch(
      /a certificate is not valid.* flag=--http-tls-cert.*it has expired at/,
    )
  })

  test("TlsFiles takes over a changed pair when both files have changed", () => {
    using log = new LogLines()
    for (const suffix of ["crt", "key"]) copyFileSync(file(`one.${suffix}`), file(`now.${suffix}`))
    const files = new TlsFiles({ certPath: file("now.crt"), keyPath: file("now.key") })
    const before = files.current()
    expect(files.current()).toBe(before)
    // The new one comes by rename, as tools do it: the size may be the same.
    const renew = (suffix: string, from: string) => {
      copyFileSync(file(from), file(`renewed.${suffix}`))
      Bun.spawnSync(["mv", file(`renewed.${suffix}`), file(`now.${suffix}`)])
    }
    renew("crt", "two.crt")
    for (let look = 0; look < 3; look++) expect(files.current()).toBe(before)
    expect(log.lines.map((line) => /msg="(.*?)"/.exec(line)?.[1])).toEqual([
      "keeping the old certificates",
    ])
    renew("key", "two.key")
    expect(files.current()).toEqual(
      new TlsFiles({ certPath: file("two.crt"), keyPath: file("two.key") }).current(),
    )
    expect(log.lines.join("\n")).not.toContain("BEGIN")
  })

  test("TlsFiles keeps what it has when the files go away", () => {
    using _ = new LogLines()
    writeFileSync(file("gone.crt"), new TlsFiles({ caPath: certificates.ca }).current().ca ?? "")
    chmodSync(file("gone.crt"), 0o600)
    const files = new TlsFiles({ caPath: file("gone.crt") })
    const before = files.current()
    Bun.spawnSync(["rm", file("gone.crt")])
    expect(files.current()).toBe(before)
  })
})
