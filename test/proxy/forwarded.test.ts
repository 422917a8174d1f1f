import { expect, test } from "bun:test"
import { originOf } from "../../src/proxy/forwarded.ts"
import { parseRequestHead } from "../../src/proxy/message-head.ts"

function told(address: string, ...fields: string[]): Record<string, string> {
  const head = parseRequestHead(["GET / HTTP/1.1", "Host: a.example", ...fields].join("\r\n"))
  return Object.fromEntries(originOf(head, address).fields)
}

const SAID = [
  "X-Forwarded-For: 198.51.100.1",
  "X-Forwarded-For: 198.51.100.2, 198.51.100.3",
  "X-Forwarded-Proto: https",
  "X-Forwarded-Host: evil.example",
  "X-Forwarded-Port: 443",
  "X-Real-IP: 198.51.100.1",
  "Forwarded: for=198.51.100.1",
]

test.each([["203.0.113.9"], ["172.32.0.1"], ["11.0.0.1"], ["2001:db8::1"]])(
  "what a client at %p says of itself is replaced",
  (address) => {
    const forwardedFor = address.includes(":") ? `"[${address}]"` : address
    expect(told(address, ...SAID)).toEqual({
      "X-Forwarded-For": address,
      "X-Forwarded-Host": "a.example",
      "X-Forwarded-Proto": "http",
      Forwarded: `for=${forwardedFor};host=a.example;proto=http`,
    })
  },
)

test.each([
  ["127.0.0.1"],
  ["10.1.2.3"],
  ["172.16.0.1"],
  ["172.31.0.1"],
  ["192.168.1.1"],
  ["::1"],
  ["fdaa:0:1::2"],
])("what a load balancer at %p says is kept, and it is added", (address) => {
  const fields = told(address, ...SAID)
  expect(fields["X-Forwarded-For"]).toBe(`198.51.100.1, 198.51.100.2, 198.51.100.3, ${address}`)
  expect(fields).toMatchObject({
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Real-IP": "198.51.100.1",
  })
  expect(fields.Forwarded).toStartWith("for=198.51.100.1, for=")
})

test("only https is secure", () => {
  const isSecure = (proto: string) => {
    const head = parseRequestHead(`GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: ${proto}`)
    return originOf(head, "127.0.0.1").isSecure
  }
  expect(["https", "HTTPS, http", "http", "wss", ""].map(isSecure)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ])
})
