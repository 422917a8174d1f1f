/** An authority and certificates that it has signed, made by openssl(1) in a directory that goes with it. */
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export interface CertificatePaths {
  readonly cert: string
  readonly key: string
}

export class Certificates implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "litefs-tls-"))
  readonly ca: string

  constructor(name = "authority") {
    this.ca = join(this.directory, "ca.crt")
    const key = join(this.directory, "ca.key")
    this.#openssl("req", "-x509", ...NEW_KEY, key, "-out", this.ca, "-subj", `/CN=${name}`)
  }

  /** A certificate for this machine's own addresses. With fewer than 0 days it has expired. */
  make(name: string, days = 30): CertificatePaths {
    const path = (suffix: string) => join(this.directory, `${name}.${suffix}`)
    writeFileSync(path("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    this.#openssl("req", ...NEW_KEY, path("key"), "-out", path("csr"), "-subj", `/CN=${name}`)
    const signer = ["-CA", this.ca, "-CAkey", join(this.directory, "ca.key"), "-CAcreateserial"]
    const files = ["-in", path("csr"), "-out", path("crt"), "-extfile", path("ext")]
    this.#openssl("x509", "-req", ...signer, ...files, "-days", `${days}`)
    return { cert: path("crt"), key: path("key") }
  }

  /** Puts one pair in the place of another. */
  replace(old: CertificatePaths, by: CertificatePaths): void {
    copyFileSync(by.cert, old.cert)
    copyFileSync(by.key, old.key)
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true })
  }

  #openssl(...args: string[]): void {
    const { status, stderr, error } = spawnSync("openssl", args, { encoding: "utf8" })
    if (status !== 0) throw new Error(`openssl ${args[0]}: ${error?.message ?? stderr}`)
  }
}

const NEW_KEY = [
  ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
  ...["-nodes", "-keyout"],
]
