/**
 * An errno, thrown.
 *
 * There is one instance per errno, made on first use: a throw costs no stack trace, because an ENOENT is nothing out of
 * the ordinary. Its `stack` therefore says nothing about where it was thrown.
 */
import { errnoName } from "../sys/errno.ts"

export class FuseError extends Error {
  override readonly name = "FuseError"
  readonly errno: number

  private constructor(errno: number) {
    super(errnoName(errno))
    this.errno = errno
  }

  static of(errno: number): FuseError {
    let error = instances.get(errno)
    if (error === undefined) {
      error = new FuseError(errno)
      instances.set(errno, error)
    }
    return error
  }
}

const instances = new Map<number, FuseError>()
