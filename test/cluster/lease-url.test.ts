import { describe, expect, test } from "bun:test"
import { parseLeaseUrl } from "../../src/cluster/stores/lease-url.ts"

describe("parseLeaseUrl()", () => {
  test("static is no store", () => {
    expect(parseLeaseUrl("static")).toBeUndefined()
  })

  test("etcd, with several hosts, a user and a time to live", () => {
    expect(parseLeaseUrl("etcd://me:p%40ss%3Aword@a:2379,[::1]:2380,c/app/one?ttl=1m")).toEqual({
      kind: "etcd",
      origins: ["http://a:2379", "http://[::1]:2380", "http://c:2379"],
      prefix: "app/one",
      where: "etcd://a:2379,[::1]:2380,c/app/one",
      ttlMs: 60_000,
      user: { name: "me", password: "p@ss:word" },
    })
  })

  test("Consul, with a token, and with TLS", () => {
    expect(
      parseLeaseUrl("consul+https://:t0ken@c/litefs/primary?lock-delay=2s&node=app/litefs"),
    ).toEqual({
      kind: "consul",
      origins: ["https://c:8500"],
      key: "litefs/primary",
      where: "consul+https://c/litefs/primary",
      ttlMs: 10_000,
      lockDelayMs: 2000,
      token: "t0ken",
      node: "app/litefs",
    })
    expect(parseLeaseUrl("consul://c:80/a/")).toMatchObject({ origins: ["http://c"], key: "a" })
  })

  test.each([
    ["", /^it should be static, etcd:\/\/HOST:2379\/PREFIX or consul:\/\/HOST:8500\/KEY$/],
    ["etcd", /^it should be static, etcd:/],
    ["zk://a/b", /^it should be static, etcd:/],
    ["etcd://a:2379", /^it should be static, etcd:/],
    ["etcd:///app", /^it should be static, etcd:/],
    ["etcd://a/", /^it has no prefix, it should be like/],
    ["consul://a//", /^it has no key, it should be like/],
    ["etcd://a/app?ttl=1s", /^its ttl should be from 2s to 1h, it is 1s$/],
    ["etcd://a/app?ttl=2h", /^its ttl should be from 2s to 1h, it is 2h$/],
    ["etcd://a/app?ttl=soon", /^its ttl should be from 2s to 1h, like 10s$/],
    ["consul://a/app?ttl=9s", /^its ttl should be from 10s to 24h, it is 9s$/],
    ["consul://a/app?lock-delay=-1s", /^its lock-delay should be from 0s to 1m, it is -1s$/],
    ["etcd://a/app?lock-delay=1s", /^"lock-delay" is no setting of it, there are ttl$/],
    ["consul://a/app?TTL=10s", /^"TTL" is no setting of it, there are ttl, lock-delay, node$/],
    ["etcd://me@a/app", /^it should have a user and a password, USER:PASSWORD@$/],
    ["etcd://me:%zz@a/app", /^a % in its user or password should begin a percent-encoding/],
    ["consul://:a b@c/app", /^its token should be made of letters, digits and signs of ASCII$/],
    ["consul://a,b/app", /^it should have one host, an agent of Consul$/],
    ["etcd://a:x/app", /^"a:x" should be a host, like HOST:2379$/],
    ["etcd://a,,b/app", /^"" should be a host/],
    ["etcd://a/a b", /^its path should be words of letters/],
    ["etcd://a/a/../b c", /^its path should be words of letters/],
    [`etcd://a/${"x".repeat(300)}`, /of 256 characters at most$/],
    [`etcd://${Array(17).fill("a").join()}/app`, /^it should have 16 hosts at most$/],
  ])("refuses %p", (text, problem) => {
    expect(() => parseLeaseUrl(text)).toThrow(problem)
    expect(() => parseLeaseUrl(text)).toThrow(SyntaxError)
  })
})
