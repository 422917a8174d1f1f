/** So many at once, and so many more each second. What has done something useful may earn more. */
export class Allowance {
  readonly #most: number
  readonly #perMs: number
  #left: number
  #atMs: number

  constructor(most: number, perSecond: number, nowMs: number) {
    this.#most = most
    this.#perMs = perSecond / 1000
    this.#left = most
    this.#atMs = nowMs
  }

  /** False when there is not as much left. */
  take(count: number, nowMs: number): boolean {
    this.earn((nowMs - this.#atMs) * this.#perMs)
    this.#atMs = nowMs
    this.#left -= count
    return this.#left >= 0
  }

  earn(count: number): void {
    this.#left = Math.min(this.#most, this.#left + count)
  }
}
