/**
 * Fixed little-endian records, described once: `struct({ len: u32, opcode: u32, unique: pair64 })`.
 *
 * A view is bound to one place of a buffer when it is made, and each field is a getter and a setter on the words at
 * that place: reading or writing one allocates nothing. `at()` moves the view to another record.
 *
 * 1. Every field lies at a multiple of its own size (8-byte fields: of 4), where a C compiler would put it; write
 *    `pad()` where C would pad. Records start at a multiple of 4 of the underlying buffer, and are multiples of 4 long.
 * 2. `u64` and `i64` are numbers: exact up to 2^53 either way, rounded beyond. For values that use all 64 bits (ids,
 *    hashes) there is `pair64`, which makes two fields of 32 bits, `nameLo` and `nameHi`.
 * 3. A view reads and writes the machine's byte order, which is little-endian wherever Bun runs.
 */
import { assert, unreachable } from "./assert.ts"

export interface FieldType<Kind extends FieldKind = FieldKind> {
  readonly kind: Kind
  readonly size: number
}

type FieldKind = "u16" | "u32" | "i32" | "u64" | "i64" | "pair64" | "pad"

export const u16: FieldType<"u16"> = { kind: "u16", size: 2 }
export const u32: FieldType<"u32"> = { kind: "u32", size: 4 }
export const i32: FieldType<"i32"> = { kind: "i32", size: 4 }
export const u64: FieldType<"u64"> = { kind: "u64", size: 8 }
export const i64: FieldType<"i64"> = { kind: "i64", size: 8 }
export const pair64: FieldType<"pair64"> = { kind: "pair64", size: 8 }

/** Bytes without a meaning, which have no accessor. */
export function pad(size: number): FieldType<"pad"> {
  return { kind: "pad", size }
}

export type Fields = Readonly<Record<string, FieldType>>

export interface Struct<F extends Fields> {
  readonly fields: F // for a struct that contains this one to spread
  readonly size: number
  readonly offsets: { readonly [Name in keyof F]: number }
  view(bytes: Uint8Array, offset?: number): View<F>
}

/** The fields of a record as properties. `ViewOf<typeof InHeader>` where a type is needed. */
export type View<F extends Fields> = Numbers<F> & {
  /** Moves the view to another place of its buffer. */
  at(offset: number): View<F>
  /** Sets every byte of the record to zero. */
  clear(): void
}

export type ViewOf<S> = S extends Struct<infer F> ? View<F> : never

type Numbers<F extends Fields> = {
  [Name in keyof F & string as Accessors<Name, F[Name]>]: number
}

type Accessors<Name extends string, Type> =
  Type extends FieldType<"pair64">
    ? `${Name}Lo` | `${Name}Hi`
    : Type extends FieldType<"pad">
      ? never
      : Name

export function struct<const F extends Fields>(fields: F): Struct<F> {
  const offsets: Record<string, number> = {}
  const accessors: PropertyDescriptorMap = {}
  let size = 0
  for (const [name, type] of Object.entries(fields)) {
    const alignment = type.kind === "pad" ? 1 : Math.min(type.size, 4)
    assert(size % alignment === 0, `Cannot place field "${name}": offset ${size} is not aligned`)
    assert(name !== "at" && name !== "clear", `Cannot call a field "${name}": views have a method`)
    offsets[name] = size
    Object.assign(accessors, accessorsOf(name, type.kind, size))
    size += type.size
  }
  assert(size % 4 === 0, `Cannot lay out a record of ${size} bytes, must be a multiple of 4`)

  class RecordView extends Place {}
  Object.defineProperties(RecordView.prototype, accessors)
  return {
    fields,
    size,
    offsets: offsets as Struct<F>["offsets"],
    view: (bytes, offset = 0) => new RecordView(bytes, offset, size) as unknown as View<F>,
  }
}

function accessorsOf(name: string, kind: FieldKind, offset: number): PropertyDescriptorMap {
  const index = offset >> 2
  switch (kind) {
    case "pad":
      return {}
    case "u16":
      return { [name]: Place.half(offset >> 1) }
    case "u32":
      return { [name]: Place.word(index) }
    case "i32":
      return { [name]: Place.signedWord(index) }
    case "u64":
      return { [name]: Place.double(index) }
    case "i64":
      return { [name]: Place.signedDouble(index) }
    case "pair64":
      return { [`${name}Lo`]: Place.word(index), [`${name}Hi`]: Place.word(index + 1) }
    default:
      return unreachable(kind)
  }
}

const WORD = 2 ** 32

/**
 * Where a record is: a buffer as words of 32 and 16 bits, and the word it starts at. All of it is private, so a field
 * may have any name. Placing a record checks that its words exist.
 */
class Place {
  readonly #words: Uint32Array
  readonly #halves: Uint16Array
  readonly #size: number
  #start = 0

  constructor(bytes: Uint8Array, offset: number, size: number) {
    const { buffer, byteOffset, length } = bytes
    assert(byteOffset % 4 === 0, `Cannot view a record in a buffer that starts at ${byteOffset}`)
    this.#words = new Uint32Array(buffer, byteOffset, length >> 2)
    this.#halves = new Uint16Array(buffer, byteOffset, length >> 1)
    this.#size = size
    this.at(offset)
  }

  at(offset: number): this {
    const room = this.#words.length * 4
    assert(offset % 4 === 0, `Cannot view a record at ${offset}, must be a multiple of 4`)
    assert(
      offset >= 0 && offset + this.#size <= room,
      `Cannot view a record of ${this.#size} bytes at ${offset}: the buffer has ${room}`,
    )
    this.#start = offset >> 2
    return this
  }

  clear(): void {
    this.#words.fill(0, this.#start, this.#start + (this.#size >> 2))
  }

  static half(index: number): Accessor {
    return {
      get() {
        return this.#halves[this.#start * 2 + index] as number
      },
      set(value) {
        this.#halves[this.#start * 2 + index] = value
      },
    }
  }

  static word(index: number): Accessor {
    return {
      get() {
        return this.#words[this.#start + index] as number
      },
      set(value) {
        this.#words[this.#start + index] = value
      },
    }
  }

  static signedWord(index: number): Accessor {
    return {
      get() {
        return (this.#words[this.#start + index] as number) | 0
      },
      set: Place.word(index).set,
    }
  }

  static double(index: number): Accessor {
    return {
      get() {
        const at = this.#start + index
        return (this.#words[at] as number) + (this.#words[at + 1] as number) * WORD
      },
      // A negative number becomes two's complement: the low word wraps, the high one is rounded
      // down.
      set(value) {
        const at = this.#start + index
        this.#words[at] = value
        this.#words[at + 1] = Math.floor(value / WORD)
      },
    }
  }

  static signedDouble(index: number): Accessor {
    return {
      get() {
        const at = this.#start + index
        return (this.#words[at] as number) + ((this.#words[at + 1] as number) | 0) * WORD
      },
      set: Place.double(index).set,
    }
  }
}

interface Accessor {
  get(this: Place): number
  set(this: Place, value: number): void
}
