/** Examples of RFC 7541, appendix C, and blocks that a hostile side makes. */
import { describe, expect, test } from "bun:test"
import { encodeFields, type Field, HpackDecoder } from "../../../src/wire/http2/hpack.ts"
import { decodeHuffman } from "../../../src/wire/http2/huffman.ts"

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex")

const REQUESTS: (readonly Field[])[] = [
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ],
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
    ["cache-control", "no-cache"],
  ],
  [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ],
]

describe("HpackDecoder", () => {
  test.each([
    [
      "C.3, without Huffman",
      [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
      ],
    ],
    [
      "C.4, with Huffman",
      [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
      ],
    ],
  ])("HpackDecoder reads the requests of RFC 7541, %s", (_, blocks) => {
    const decoder = new HpackDecoder(16_384)
    const read = blocks.map((block) => decoder.decode(hex(block)))
    expect(read.map(({ fields }) => fields)).toEqual(REQUESTS)
  })

  test("HpackDecoder keeps in its table what fits, and forgets the oldest", () => {
    const decoder = new HpackDecoder(1_000_000)
    const kept = (name: string, size: number) =>
      Buffer.concat([
        hex("40"),
        Buffer.of(name.length),
        Buffer.from(name),
        lengthOf(size),
        Buffer.alloc(size, "x"),
      ])
    decoder.decode(Buffer.concat([kept("a", 2000), kept("b", 2000)]))
    expect(decoder.decode(hex("be bf")).fields.map(([name]) => name)).toEqual(["b", "a"])
    decoder.decode(kept("c", 100))
    expect(decoder.decode(hex("be bf")).fields.map(([name]) => name)).toEqual(["c", "b"])
    expect(() => decoder.decode(hex("c0"))).toThrow(/field 64, which there is not/)
    decoder.decode(kept("d", 5000))
    expect(() => decoder.decode(hex("be"))).toThrow(/field 62/)
    decoder.decode(kept("e", 10))
    decoder.decode(hex("20"))
    expect(() => decoder.decode(hex("be"))).toThrow(/field 62/)
  })

  test("HpackDecoder reads on but keeps nothing beyond its limit", () => {
    const decoder = new HpackDecoder(200)
    const value = Buffer.concat([hex("4001 61 7f 95 07"), Buffer.alloc(1044, "x")]) // a: 1,044 times x
    expect(decoder.decode(value)).toEqual({ fields: [], isTooLarge: true })
    const bomb = decoder.decode(Buffer.alloc(16_384, 0xbe)) // the same a thousandfold
    expect(bomb).toEqual({ fields: [], isTooLarge: true })
    expect(decoder.decode(hex("82")).fields).toEqual([[":method", "GET"]])
  })

  test.each([
    ["80", /field 0/],
    ["ff 80 80 80 80 01", /over 28 bits/],
    ["40 05 61", /end within a text/],
    ["41", /end within a field/],
    ["3f e2 1f", /a table of 4097 bytes/],
    ["82 20", /after a field/],
    ["40 81 00 00", /Huffman/], // padding of zeros
    ["40 84 ff ff ff ff 00", /Huffman/], // EOS
    ["40 82 1f ff 00", /Huffman/], // more than seven bits of padding
  ])("HpackDecoder refuses %s", (block, problem) => {
    expect(() => new HpackDecoder(16_384).decode(hex(block))).toThrow(problem)
  })
})

test("decodeHuffman() reads every octet", () => {
  // 302, private, Mon, 21 Oct 2013 20:13:21 GMT, https://www.example.com: RFC 7541, C.6.1
  const texts = [
    "6402",
    "aec3771a4b",
    "d07abe941054d444a8200595040b8166e082a62d1bff",
    "9d29ad171863c78f0b97c8e9ae82ae43d3",
  ]
  expect(texts.map((text) => decodeHuffman(hex(text)))).toEqual([
    "302",
    "private",
    "Mon, 21 Oct 2013 20:13:21 GMT",
    "https://www.example.com",
  ])
})

test("encodeFields() writes what the decoder reads, of any length", () => {
  const fields: Field[] = [
    [":status", "200"],
    ["empty", ""],
    ...[126, 127, 128, 255, 300, 5000].map((size): Field => [`size-${size}`, "ä".repeat(size)]),
  ]
  expect(new HpackDecoder(100_000).decode(encodeFields(fields))).toEqual({
    fields,
    isTooLarge: false,
  })
})

function lengthOf(size: number): Buffer {
  if (size < 127) return Buffer.of(size)
  const rest = size - 127
  return Buffer.of(127, (rest & 127) | 128, rest >> 7)
}
