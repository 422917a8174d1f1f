import { describe, expect, test } from "bun:test"
import { NameDecoder } from "../../src/fuse/names.ts"

function decode(bytes: Uint8Array, start = 0, end = bytes.length) {
  const names = new NameDecoder(bytes)
  const next = names.decode(start, end)
  return next === 0 ? "not a name" : { name: names.name, next }
}

const text = (value: string) => new Uint8Array(Buffer.from(value))

describe("NameDecoder", () => {
  test.each(["app.db", "a", "app.db-journal", "größe.db", "数据库", "😀", "\ufeffbom", "..."])(
    "decodes %j",
    (name) => {
      const bytes = text(`${name}\0next\0`)
      expect(decode(bytes)).toEqual({ name, next: Buffer.byteLength(name) + 1 })
    },
  )

  test("decodes names one after the other", () => {
    const names = new NameDecoder(text("....old\0new\0"))
    expect(names.decode(4, 12)).toBe(8)
    expect(names.name).toBe("old")
    expect(names.decode(8, 12)).toBe(12)
    expect(names.name).toBe("new")
  })

  test.each(["", ".", "..", "a/b", "/"])("refuses %j, which no entry can be called", (name) => {
    expect(decode(text(`${name}\0`))).toBe("not a name")
  })

  test("refuses a name that does not end within the request", () => {
    expect(decode(text("app.db"))).toBe("not a name")
    expect(decode(text("app.db\0"), 0, 6)).toBe("not a name")
    expect(decode(text("app.db\0"), 7, 7)).toBe("not a name")
  })

  test.each([[[0xff]], [[0xc3]], [[0xed, 0xa0, 0x80]], [[0xc0, 0xaf]], [[0x61, 0x80]]])(
    "finds the end of %p, which is not UTF-8, but no name",
    (bytes) => {
      expect(decode(new Uint8Array([...bytes, 0]))).toEqual({
        name: undefined,
        next: bytes.length + 1,
      })
    },
  )

  test("does not mix up names that were decoded before", () => {
    const bytes = new Uint8Array(16)
    const names = new NameDecoder(bytes)
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 2000; index++) {
        const name = `db${index}`
        bytes.set(text(`${name}\0`))
        names.decode(0, 16)
        expect(names.name).toBe(name)
      }
    }
  })

  test("decodes a name of a megabyte", () => {
    expect(decode(text(`${"a".repeat(1 << 20)}\0`))).toMatchObject({ next: (1 << 20) + 1 })
  })
})
