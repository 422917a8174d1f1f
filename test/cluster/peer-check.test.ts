import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { join } from "node:path"
import { ClusterId, makeClusterId } from "../../src/cluster/role/cluster-id.ts"
import { encodeLease, type LeaseRecord } from "../../src/cluster/role/lease.ts"
import { PeerCheck } from "../../src/cluster/role/peer-check.ts"
import { LogLines } from "../support/log-lines.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const OURS = makeClusterId(() => 1n)
const THEIRS = makeClusterId(() => 2n)
const SELF = { id: "00000000000000AA", run: "1" }

let directory: TemporaryDirectory
let heard: LeaseRecord[]
beforeEach(() => {
  directory = new TemporaryDirectory()
  heard = []
})
afterEach(() => directory[Symbol.dispose]())

function check(cluster?: string, foreign?: (problem: string) => void): PeerCheck {
  const clusterId = new ClusterId(join(directory.path, "clusterid"))
  if (cluster !== undefined) clusterId.check(cluster)
  const more = foreign === undefined ? {} : { foreign }
  return new PeerCheck({ ...SELF, clusterId, heard: ({ record }) => heard.push(record), ...more })
}

function headers(id: string, run: string | undefined, rest: Record<string, unknown> = {}) {
  return { "litefs-id": id, "litefs-run": run, "litefs-hostname": "b", ...rest }
}

const RECORD = { epoch: 3, primary: { id: SELF.id, hostname: "b", url: "http://b:1" } }
const LEASE = { "litefs-lease": encodeLease(RECORD, undefined) }

const LAST_EPOCH = encodeLease({ ...RECORD, epoch: 2 ** 53 - 1 }, undefined)

describe("PeerCheck.hear()", () => {
  test.each([
    ["of another node", headers("00000000000000BB", "2", LEASE)],
    ["of this node itself", headers(SELF.id, SELF.run, LEASE)],
    ["of a LiteFS that does not say which process it is", headers(SELF.id, undefined, LEASE)],
  ])("takes in the record %s", (_, given) => {
    expect(check().hear(given, "http://b:1").lease?.record).toEqual(RECORD)
    expect(heard).toEqual([RECORD])
  })

  test.each([
    [
      LAST_EPOCH,
      "its epoch is 9007199254740991, expected a whole number from 1 to 281474976710656",
    ],
    ["x", "it should be an epoch and the id, host name and URL of a node, as JSON"],
  ])("says once that the record %p is none, and who has sent it", (lease, problem) => {
    using log = new LogLines()
    const peers = check()
    for (let i = 0; i < 3; i++) {
      const given = headers("00000000000000BB", "2", { "litefs-lease": lease })
      expect(peers.hearRequest(given, "10.0.0.9").lease).toBeUndefined()
    }
    expect(heard).toEqual([])
    expect(log.lines).toEqual([
      'level=warn tag=member msg="heard of a lease record that is not valid, it is not believed" ' +
        `from=10.0.0.9 node=b problem=${JSON.stringify(problem)}`,
    ])
  })

  test("refuses a copy, whose record counts all the same", () => {
    const peers = check()
    expect(() => peers.hear(headers(SELF.id, "2", LEASE), "http://b:1")).toThrow(
      "http://b:1 has this node's id, 00000000000000AA: one of the data directories is a copy of the other",
    )
    expect(heard).toEqual([RECORD])
    expect(() => peers.checkPrimary(headers(SELF.id, "2"), "http://b:1")).toThrow("this node's id")
  })
})

describe("PeerCheck.checkFollower()", () => {
  const url = { "litefs-advertise-url": "http://b:1" }
  const stream = (at: string) => ({ replica: { id: "00000000000000BB", name: "c", url: at } })

  test("refuses a node of another cluster, and says who has the data each time", () => {
    const foreign = headers("00000000000000BB", "2", { "litefs-cluster-id": THEIRS })
    const problem = `b is in cluster ${THEIRS}, this node in ${OURS}: was the data directory here emptied? Then b has the data`
    const told: string[] = []
    const peers = check(OURS, (text) => told.push(text))
    for (let i = 0; i < 2; i++) expect(() => peers.checkFollower(foreign, [])).toThrow(problem)
    expect(told).toEqual([problem, problem])
  })

  test.each([
    ["without a cluster", headers("00000000000000BB", "2")],
    ["of this cluster", headers("00000000000000BB", "2", { "litefs-cluster-id": OURS })],
  ])("lets a node follow %s", (_, given) => {
    expect(() => check(OURS).checkFollower(given, [])).not.toThrow()
  })

  test("refuses a node with the id of one that follows from elsewhere, but not that one itself", () => {
    const asking = headers("00000000000000BB", "2", url)
    expect(() => check().checkFollower(asking, [stream("http://c:1")])).toThrow(
      "b at http://b:1 has the id of c at http://c:1, 00000000000000BB",
    )
    expect(() => check().checkFollower(asking, [stream("http://b:1")])).not.toThrow()
  })
})

test("PeerCheck.checkPrimary() lets a new node follow anybody, and others those of their cluster", () => {
  const theirs = headers("00000000000000BB", "2", { "litefs-cluster-id": THEIRS })
  expect(() => check().checkPrimary(theirs, "http://b:1")).not.toThrow()
  expect(() => check(OURS).checkPrimary(theirs, "http://b:1")).toThrow(
    /it belongs to cluster .*; the URL should be that of a node of this one's cluster, or/,
  )
})
