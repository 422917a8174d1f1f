/** A Worker that adds transactions as fast as it can. Every file is made of one number, its TXID. */
import { RecentTransactions } from "../../src/store/ltx/recent-transactions.ts"

export function fileOf(txid: number): Uint8Array {
  return new Uint8Array(1000 + (txid % 500)).fill(txid % 251)
}

export interface RecentWriting {
  readonly memory: SharedArrayBuffer
  /** One word: the TXID that was added last. */
  readonly latest: SharedArrayBuffer
  readonly last: number
}

declare const self: Worker

if (!Bun.isMainThread) {
  self.onmessage = ({ data }: MessageEvent<RecentWriting>) => {
    const recent = new RecentTransactions(data.memory)
    const latest = new Int32Array(data.latest)
    for (let txid = 1; txid <= data.last; txid++) {
      recent.add(7, BigInt(txid), fileOf(txid))
      Atomics.store(latest, 0, txid)
    }
    postMessage("done")
  }
}
