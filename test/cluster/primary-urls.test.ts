import { expect, test } from "bun:test"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import { PrimaryUrls } from "../../src/cluster/role/primary-urls.ts"

function record(name: string): LeaseRecord {
  return { epoch: 1, primary: { id: name, hostname: name, url: `http://${name}` } }
}

interface Given {
  hint?: string
  peers?: string[]
  record?: LeaseRecord
  reached?: Record<string, string>
}

/** What is tried, in order, by a node whose own address is http://me. */
function tried({ hint, peers = [], ...given }: Given, count: number): string[] {
  const urls = new PrimaryUrls({
    ...{ hint, peers },
    own: () => "http://me",
    record: () => given.record,
    reachedAt: (id) => given.reached?.[id],
  })
  return Array.from({ length: count }, () => {
    const { current } = urls
    urls.moveOn()
    return current
  })
}

test("a hint alone is tried again and again", () => {
  expect(tried({ hint: "http://a" }, 3)).toEqual(["http://a", "http://a", "http://a"])
})

test("a hint is the first, then the record and the peers", () => {
  const given = { hint: "http://hint", peers: ["http://p", "http://q"], record: record("b") }
  const order = ["http://hint", "http://p", "http://q", "http://b", "http://hint"]
  expect(tried(given, 5)).toEqual(order)
})

test("the address at which the primary was reached takes the place of the one in the record", () => {
  const given = { hint: "http://hint", record: record("b"), reached: { b: "http://hint" } }
  expect(tried(given, 3)).toEqual(["http://hint", "http://hint", "http://hint"])
})

test("its own address is left out", () => {
  expect(tried({ peers: ["http://me", "http://p"], record: record("me") }, 3)).toEqual([
    "http://p",
    "http://p",
    "http://p",
  ])
})

test("a newer record says where to go next", () => {
  let known = record("a")
  const urls = new PrimaryUrls({
    ...{ hint: "http://a", peers: ["http://p"] },
    own: () => undefined,
    record: () => known,
    reachedAt: () => undefined,
  })
  known = record("b")
  urls.redirect()
  expect(urls.current).toBe("http://b")
})

test("the known address is that of the record, or the hint, and no peer's while it is asked", () => {
  const known = ({ hint, peers = [], ...given }: Given) => {
    const urls = new PrimaryUrls({
      ...{ hint, peers, own: () => "http://me" },
      record: () => given.record,
      reachedAt: (id) => given.reached?.[id],
    })
    return peers.map(() => {
      urls.moveOn()
      return urls.known
    })
  }
  const peers = ["http://p", "http://q"]
  const all = (url: string) => [url, url]
  expect(known({ peers, hint: "http://hint" })).toEqual(all("http://hint"))
  expect(known({ peers, hint: "http://hint", record: record("b") })).toEqual(all("http://b"))
  const reached = { b: "http://reached" }
  expect(known({ peers, record: record("b"), reached })).toEqual(all("http://reached"))
  expect(known({ peers, hint: "http://hint", record: record("me") })).toEqual(all("http://hint"))
  const alone = { hint: undefined, peers: [], own: () => "http://me", reachedAt: () => undefined }
  expect(new PrimaryUrls({ ...alone, record: () => record("me") }).known).toBe(undefined)
})

test("replicas send it on, to none of them twice, and not for ever", () => {
  const urls = new PrimaryUrls({
    ...{ hint: "http://a", peers: ["http://p"], own: () => "http://me" },
    ...{ record: () => undefined, reachedAt: () => undefined },
  })
  const sent = (url: string) => [urls.sendOn(url), urls.current]
  expect(sent("http://a")).toEqual([false, "http://a"])
  expect(sent("http://me")).toEqual([false, "http://a"])
  expect(sent("javascript:1")).toEqual([false, "http://a"])
  expect(sent("http://b")).toEqual([true, "http://b"])
  expect(sent("http://a")).toEqual([false, "http://b"])
  expect(sent("http://c")).toEqual([true, "http://c"])
  expect(sent("http://d")).toEqual([true, "http://d"])
  expect(sent("http://e")).toEqual([true, "http://e"])
  expect(sent("http://f")).toEqual([false, "http://e"])
  urls.moveOn()
  expect(sent("http://b")).toEqual([true, "http://b"])
  urls.arrived()
  expect(sent("http://a")).toEqual([true, "http://a"])
  urls.moveOn()
  expect(urls.current).toBe("http://p")
})
