/** The output of a frozen database: a snapshot for replicas, or the database file itself. */
import type { FrozenState } from "../../capture/frozen-view.ts"
import type { ByteSink } from "../../lib/codecs/lz4.ts"
import { LtxEncoder } from "../../ltx/encoder.ts"
import { LTX_FLAG_COMPRESSED, NO_WAL } from "../../ltx/header.ts"
import type { Checksum } from "../../ltx/pos.ts"

export type SnapshotFormat = "ltx" | "raw"

/** Takes pages 1 to the last, in order. Its output is borrowed: valid until it returns. */
export interface SnapshotWriter {
  page(pgno: number, bytes: Uint8Array): void
  lockPage(): void
  /** All pages were right. */
  end(checksum: Checksum): void
}

export function snapshotWriter(
  format: SnapshotFormat,
  state: FrozenState,
  nodeId: bigint,
  sink: ByteSink,
): SnapshotWriter {
  return format === "ltx" ? ltxWriter(state, nodeId, sink) : rawWriter(state, sink)
}

/** One LTX file from TXID 1 to the position. */
function ltxWriter(
  { pos, pageSize, commit, timestampMs }: FrozenState,
  nodeId: bigint,
  sink: ByteSink,
): SnapshotWriter {
  const encoder = new LtxEncoder(sink)
  encoder.header({
    flags: LTX_FLAG_COMPRESSED,
    pageSize,
    commit,
    minTxid: 1n,
    maxTxid: pos.txid,
    timestampMs,
    preApplyChecksum: 0n,
    ...NO_WAL,
    nodeId,
  })
  return {
    page: (pgno, bytes) => encoder.page(pgno, bytes),
    lockPage: () => {},
    end: (checksum) => void encoder.close(checksum),
  }
}

function rawWriter({ pageSize }: FrozenState, sink: ByteSink): SnapshotWriter {
  return {
    page: (_, bytes) => sink(bytes),
    lockPage: () => sink(new Uint8Array(pageSize)),
    end: () => {},
  }
}
