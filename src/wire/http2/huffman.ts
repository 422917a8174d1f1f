/**
 * The Huffman code of header texts (RFC 7541, 5.2 and appendix B). It is canonical: codes of one length count up in the
 * order of their symbols, so the lengths alone give the code.
 */

/** A letter for each octet and for the end of a text (EOS): "a" stands for a code of 5 bits, "z" for one of 30. */
const LENGTHS =
  "isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibccccccccccccccccccccccdcdioijbkabababbbaccbbbabcbaabccccckgjix" +
  "prpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrsvvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwvz"

const EOS = 256
const LENGTH_MIN = 5
const LENGTH_MAX = 30

/** The codes of one length: the first of them, and the symbols in their order. */
interface Codes {
  readonly first: number
  readonly symbols: readonly number[]
}

const CODES: readonly Codes[] = codesOf(LENGTHS)

function codesOf(letters: string): Codes[] {
  const codes: Codes[] = []
  let next = 0
  for (let length = 0; length <= LENGTH_MAX; length++) {
    const letter = String.fromCharCode("a".charCodeAt(0) + length - LENGTH_MIN)
    const symbols = [...letters].flatMap((each, symbol) => (each === letter ? [symbol] : []))
    codes.push({ first: next, symbols })
    next = (next + symbols.length) * 2
  }
  return codes
}

/** Throws a RangeError for what is no such text. */
export function decodeHuffman(bytes: Uint8Array): string {
  const octets: number[] = []
  let code = 0
  let length = 0
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = (code << 1) | ((byte >> bit) & 1)
      length += 1
      const { first, symbols } = CODES[length] ?? {}
      if (first === undefined || symbols === undefined) throw malformed()
      const symbol = symbols[code - first]
      if (symbol === undefined) continue
      if (symbol === EOS) throw malformed()
      octets.push(symbol)
      code = 0
      length = 0
    }
  }
  // The last octet is filled up with the beginning of EOS, which is ones.
  if (length > 7 || code !== (1 << length) - 1) throw malformed()
  return Buffer.from(octets).toString("latin1")
}

function malformed(): RangeError {
  return new RangeError("Cannot decode a header: it is not in the Huffman code of RFC 7541")
}
