/** What the original and Consul's place said to each other: the server of our tests answers the same. */
import { describe, expect, test } from "bun:test"
import { FakeConsul } from "../support/consul.ts"
import { hasGolden, readGoldenText } from "../support/golden.ts"

interface Exchange {
  readonly method: string
  readonly path: string
  readonly body: string
  readonly status: number
  readonly answer: string
}

/** Messages with a Content-Length, or none, one after the other. */
function messages(text: string): { head: string; body: string }[] {
  const found: { head: string; body: string }[] = []
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf("\r\n\r\n", at)
    const head = text.slice(at, end)
    const size = Number(/^content-length: (?<size>\d+)/im.exec(head)?.groups?.size ?? 0)
    at = end + 4 + size
    found.push({ head, body: text.slice(end + 4, at) })
  }
  return found
}

function exchanges(number: string): Exchange[] {
  const requests = messages(readGoldenText("consul", `${number}.c2s.bin`))
  const answers = messages(readGoldenText("consul", `${number}.s2c.bin`))
  return requests.map(({ head, body }, index) => {
    const [method = "", path = ""] = head.split(" ")
    const answer = answers[index]
    return {
      ...{ method, path, body, answer: answer?.body ?? "" },
      status: Number(answer?.head.split(" ")[1]),
    }
  })
}

/** The members of an answer, without values. */
function shapeOf(text: string): unknown {
  if (text === "") return ""
  const found: unknown = JSON.parse(text)
  const shape = (value: unknown) =>
    Object.keys(Object(value)).filter((key) => key !== "ModifyIndex")
  return Array.isArray(found) ? found.map(shape) : typeof found === "object" ? shape(found) : found
}

describe("the recorded exchange with Consul", () => {
  test.skipIf(!hasGolden)("of a primary that hands over, and of its target", () => {
    const consul = FakeConsul.unconnected()
    // The target's connection begins after the primary's first eight requests, and ends with the role given up.
    const first = exchanges("000")
    const second = exchanges("001")
    const session = /acquire=(?<id>[\w-]+)/.exec(first.map(({ path }) => path).join(" "))?.groups
      ?.id
    const replay = ({ method, path, body, status, answer }: Exchange) => {
      const said = consul.answer(
        method,
        path.replaceAll(session ?? "", "75ad3fc6-7aaa-492a-b134-000000000001"),
        Buffer.from(body),
      )
      expect([method, path, said.status, shapeOf(said.body)]).toEqual([
        ...[method, path, status, shapeOf(answer)],
      ])
    }
    for (const each of first.slice(0, 8)) replay(each)
    for (const each of second) replay(each)
    expect(consul.odd).toEqual([])
    expect(consul.requests.length).toBe(8 + second.length)
  })
})
