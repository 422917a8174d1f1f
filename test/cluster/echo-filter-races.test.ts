import { describe, expect, test } from "bun:test"
import { EchoFilter } from "../../src/cluster/locks/echo-filter.ts"
import { encodeLtxHeader, LTX_FLAG_COMPRESSED } from "../../src/ltx/header.ts"

const NODE = 7n
const OTHER = 8n

interface File {
  readonly txid: bigint
  readonly maxTxid?: bigint
  readonly nodeId?: bigint
  readonly timestampMs?: number
}

function ltx({ txid, maxTxid = txid, nodeId = NODE, timestampMs = 1000 }: File): Uint8Array {
  return encodeLtxHeader({
    flags: LTX_FLAG_COMPRESSED,
    pageSize: 4096,
    commit: 1,
    minTxid: txid,
    maxTxid,
    timestampMs,
    preApplyChecksum: (1n << 63n) | txid,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId,
  })
}

/** A filter before a sink that notes what it gets, and a database that is borrowed until `release` is called. */
function fixture() {
  const events: string[] = []
  const given = Promise.withResolvers<void>()
  const state = { isBorrowed: true }
  const echoes = new EchoFilter({
    sink: {
      write: (file, _, __, isLast, taken) => {
        events.push(`write ${file}${isLast ? "" : " in part"}`)
        taken()
      },
      applied: async () => {},
      abort: (file) => void events.push(`abort ${file}`),
    },
    isBorrowed: () => state.isBorrowed,
    lost: () => {
      events.push("lost")
      return given.promise
    },
  })
  const release = async () => {
    state.isBorrowed = false
    given.resolve()
    await Bun.sleep(0)
  }
  let nextFile = 1
  const receive = (bytes: Uint8Array, isLast = true) => {
    const file = nextFile++
    void echoes.applied(file)
    echoes.write(file, "db", bytes, isLast, () => {})
  }
  return { echoes, events, release, receive }
}

describe("EchoFilter", () => {
  test("drops what this node has sent, also several as one", () => {
    const { echoes, events, receive } = fixture()
    for (const txid of [2n, 3n, 4n]) echoes.sent("db", ltx({ txid }))
    receive(ltx({ txid: 2n }))
    receive(ltx({ txid: 3n, maxTxid: 4n, nodeId: 0n }))
    expect(events).toEqual([])
  })

  test.each([
    ["another node", ltx({ txid: 2n, nodeId: OTHER })],
    ["this node at another time", ltx({ txid: 2n, timestampMs: 2000 })],
  ])("keeps one of %s that begins where ours does until the lock is lost", async (_, bytes) => {
    const { echoes, events, release, receive } = fixture()
    echoes.sent("db", ltx({ txid: 2n }))
    receive(bytes)
    expect(events).toEqual(["lost"])
    await release()
    expect(events).toEqual(["lost", "write 1"])
  })

  test("lets through what the primary has taken though it has said no", async () => {
    const { echoes, events, release, receive } = fixture()
    const forget = echoes.sent("db", ltx({ txid: 2n }))
    forget()
    await release()
    receive(ltx({ txid: 2n }))
    expect(events).toEqual(["write 1"])
  })

  test("hands nothing on of a file that is given up while it is kept", async () => {
    const { echoes, events, release, receive } = fixture()
    receive(ltx({ txid: 2n, nodeId: OTHER }), false)
    echoes.abort(1)
    receive(ltx({ txid: 2n, nodeId: OTHER }))
    await release()
    expect(events).toEqual(["lost", "abort 1", "write 2"])
  })
})
