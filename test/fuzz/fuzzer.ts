/**
 * Feeds parsers with changed input until one does what it must not: throw what is not its way to refuse, hang, or ask
 * for memory out of proportion. The input is then made as small as it can be.
 *
 * Input number n of a run has the seed of the run + n, so a failure is the first of a run with its own seed.
 */
import type { Order, Result } from "./fuzz-worker.ts"
import type { Verdict } from "./verdict.ts"

export interface Failure {
  readonly target: string
  readonly seed: number
  readonly verdict: Verdict
  readonly input: Uint8Array
}

const HANG_MS = 3000
const WATCH_MS = 100
const TRIES_MAX = 400
/** A hang costs its limit at every try. */
const HANG_TRIES_MAX = 8

export class Fuzzer implements AsyncDisposable {
  #worker: Worker | undefined
  readonly #hangMs: number

  constructor({ hangMs = HANG_MS } = {}) {
    this.#hangMs = hangMs
  }

  /** Returns how many inputs it tried. A failure ends it. */
  async fuzz(
    target: string,
    { seed, forMs }: { seed: number; forMs: number },
  ): Promise<{ count: number; failure: Failure | undefined }> {
    const progress = new Int32Array(new SharedArrayBuffer(4))
    const result = await this.#give({ kind: "fuzz", target, seed, forMs, progress }, progress)
    if (result === undefined) {
      const count = Atomics.load(progress, 0)
      const { input } = (await this.#give({ kind: "make", target, seed: seed + count })) as Result
      const verdict: Verdict = { kind: "hung", what: `it hung for ${this.#hangMs} ms` }
      return { count, failure: await this.#failure(target, seed + count, verdict, input) }
    }
    const { count, verdict, input } = result
    if (verdict === undefined) return { count, failure: undefined }
    // Somebody else may have had the CPU.
    if (verdict.kind === "slow" && !(await this.#fails(target, verdict, input as Uint8Array))) {
      return { count, failure: undefined }
    }
    return { count, failure: await this.#failure(target, seed + count - 1, verdict, input) }
  }

  async #failure(
    target: string,
    seed: number,
    verdict: Verdict,
    input: Uint8Array = new Uint8Array(),
  ): Promise<Failure> {
    return { target, seed, verdict, input: await this.#smallest(target, verdict, input) }
  }

  /**
   * Leaves out parts, large ones first, as long as the same is wrong. Formats begin with what is needed, so the end is tried
   * first; and when tries are dear, what is left is halved at once.
   */
  async #smallest(target: string, verdict: Verdict, input: Uint8Array): Promise<Uint8Array> {
    let smallest = input
    const isDear = verdict.kind === "hung" || verdict.kind === "slow"
    let tries = isDear ? HANG_TRIES_MAX : TRIES_MAX
    for (let size = Math.ceil(input.length / 2); size > 0 && tries > 0; size = size >> 1) {
      for (let end = smallest.length; end > 0 && tries > 0; tries--) {
        const start = Math.max(0, end - size)
        const smaller = Buffer.concat([smallest.subarray(0, start), smallest.subarray(end)])
        end = start
        if (!(await this.#fails(target, verdict, new Uint8Array(smaller)))) continue
        smallest = new Uint8Array(smaller)
        if (isDear) break
      }
    }
    return smallest
  }

  async #fails(target: string, verdict: Verdict, input: Uint8Array): Promise<boolean> {
    const result = await this.#give({ kind: "try", target, input })
    if (result === undefined) return verdict.kind === "hung"
    const found = result.verdict
    return found?.kind === verdict.kind && (found.kind !== "threw" || alike(found, verdict))
  }

  /** Undefined when the thread hung; it is ended then. */
  async #give(order: Order, progress?: Int32Array): Promise<Result | undefined> {
    const worker = await this.#started()
    const answer = nextMessage(worker)
    worker.postMessage(order)
    let [seen, sinceMs] = [-1, performance.now()]
    for (;;) {
      const result = await Promise.race([answer, Bun.sleep(WATCH_MS)])
      if (result !== undefined) return result
      const now = progress === undefined ? 0 : Atomics.load(progress, 0)
      if (now !== seen) [seen, sinceMs] = [now, performance.now()]
      if (performance.now() - sinceMs < this.#hangMs) continue
      await this[Symbol.asyncDispose]()
      return undefined
    }
  }

  async #started(): Promise<Worker> {
    if (this.#worker !== undefined) return this.#worker
    this.#worker = new Worker(new URL("./fuzz-worker.ts", import.meta.url).href)
    await nextMessage(this.#worker)
    return this.#worker
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#worker?.terminate()
    this.#worker = undefined
  }
}

function nextMessage(worker: Worker): Promise<Result> {
  return new Promise((done, failed) => {
    worker.onmessage = ({ data }: MessageEvent<Result>) => done(data)
    worker.onerror = (event) => failed(new Error(`The fuzzer itself has failed: ${event.message}`))
  })
}

/** The same error of the same place, whatever the numbers in it. */
function alike(a: Verdict, b: Verdict): boolean {
  const core = (text: string) => text.replaceAll(/\d+/g, "0").slice(0, 60)
  return core(a.what) === core(b.what)
}

/** For people: what to do to see it again. */
export function failureText({ target, seed, verdict, input }: Failure): string {
  const shown = Buffer.from(input.subarray(0, 3000)).toString("base64")
  return [
    `FAILED: ${target}: ${verdict.what}`,
    `  again: scripts/fuzz --only ${target} --seed ${seed}`,
    `  smallest input, ${input.length} bytes, in base64: ${shown}`,
  ].join("\n")
}
