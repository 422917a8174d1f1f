/**
 * Certificate, key and authority of a node, read from files and read again when they have changed.
 *
 *   cert + key          what this node shows: to its clients, and to other nodes
 *   authority           what it believes: it must have signed the certificate of another node
 *
 * Tools replace certificate and key one after the other: while they do not belong together, the previous pair stays in
 * use. The content of the files never appears in a message.
 *
 * A certificate that is not valid by the clock of this machine is shown all the same, as another clock may be the right
 * one. The log tells of it here, because who refuses it says no more than that it does.
 */

import { createPrivateKey, X509Certificate } from "node:crypto"
import { statSync } from "node:fs"
import type { TlsMaterial } from "../../cluster/node-request.ts"
import { systemClock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { TlsOptions } from "../../litefs-options.ts"
import { readProblem } from "../../sys/errno.ts"
import { readGivenFile } from "./given-file.ts"

const log = logger("tls")

export class TlsFiles {
  readonly #paths: readonly string[]
  readonly #options: TlsOptions
  readonly #prefix: string
  #signature: string
  #material: TlsMaterial
  #lastProblem: string | undefined

  /** Throws when a file is unusable. `prefix` is that of the flags, for messages. */
  constructor(options: TlsOptions, prefix = "http-tls") {
    this.#options = options
    this.#prefix = prefix
    this.#paths = Object.values(options)
    this.#signature = signatureOf(this.#paths)
    this.#material = read(options, prefix)
  }

  /** Whether this node can show a certificate, and thus serve TLS. */
  get hasCertificate(): boolean {
    return this.#material.cert !== undefined
  }

  /** The content of the files, or the previous content while the present one is unusable. */
  current(): TlsMaterial {
    const signature = signatureOf(this.#paths)
    if (signature === this.#signature) return this.#material
    try {
      this.#material = read(this.#options, this.#prefix)
      this.#signature = signature
      this.#lastProblem = undefined
      log.info("read the changed certificates", { files: this.#paths.join(" ") })
    } catch (error) {
      const problem = messageOf(error)
      if (problem !== this.#lastProblem) log.warn("keeping the old certificates", { problem })
      this.#lastProblem = problem
    }
    return this.#material
  }
}

/** Changes whenever one of the files changes. */
function signatureOf(paths: readonly string[]): string {
  return paths
    .map((path) => {
      try {
        const { ino, size, mtimeMs } = statSync(path)
        return `${ino}.${size}.${mtimeMs}`
      } catch (error) {
        return messageOf(error) // read() says what is wrong
      }
    })
    .join(" ")
}

function read({ certPath, keyPath, caPath }: TlsOptions, prefix: string): TlsMaterial {
  const [caFlag, certFlag, keyFlag] = [
    `--${prefix}-ca`,
    `--${prefix}-cert`,
    `--${prefix}-key`,
  ] as const
  const ca = caPath === undefined ? undefined : readText(caFlag, caPath)
  if (ca !== undefined)
    warnOfDates(caFlag, caPath as string, certificateIn(caFlag, caPath as string, ca))
  if (certPath === undefined || keyPath === undefined) return ca === undefined ? {} : { ca }
  const cert = readText(certFlag, certPath)
  const key = readText(keyFlag, keyPath)
  const certificate = certificateIn(certFlag, certPath, cert)
  if (!certificate.checkPrivateKey(privateKeyIn(keyFlag, keyPath, key))) {
    const advice = "give those that were made together"
    throw problem(keyFlag, keyPath, `it does not belong to "${certPath}", ${advice}`)
  }
  warnOfDates(certFlag, certPath, certificate)
  return ca === undefined ? { cert, key } : { cert, key, ca }
}

function readText(flag: string, path: string): string {
  try {
    return readGivenFile(path)
  } catch (error) {
    throw problem(flag, path, readProblem(error))
  }
}

function certificateIn(flag: string, path: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text)
  } catch {
    throw problem(flag, path, "it should hold a certificate in PEM format")
  }
}

function warnOfDates(flag: string, path: string, { validFrom, validTo }: X509Certificate): void {
  const nowMs = systemClock.wallMs()
  const isOver = Date.parse(validTo) < nowMs
  if (!isOver && !(Date.parse(validFrom) > nowMs)) return
  const advice = isOver ? "put a new one there" : "the clock of this machine may be wrong"
  const what = isOver ? `it has expired at ${validTo}` : `it is not valid before ${validFrom}`
  log.warn("a certificate is not valid, it is refused", {
    flag,
    file: path,
    problem: `${what}, ${advice}`,
  })
}

function privateKeyIn(flag: string, path: string, text: string) {
  try {
    return createPrivateKey(text)
  } catch {
    const what = "it should hold a private key in PEM format, without a passphrase"
    throw problem(flag, path, what)
  }
}

function problem(flag: string, path: string, what: string): LitefsError {
  return new LitefsError("unavailable", `Cannot use ${flag} "${path}": ${what}`)
}
