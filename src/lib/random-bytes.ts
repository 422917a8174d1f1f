/** Bytes that nobody can guess. (That node:crypto has them, too, would cost each thread some milliseconds to load.) */
export function randomBytes(size: number): Buffer {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(size)))
}
