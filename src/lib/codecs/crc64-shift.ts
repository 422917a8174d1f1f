/**
 * What becomes of a CRC-64 when bytes follow that are zero to it.
 *
 * A CRC is the remainder of a polynomial, so `crc(A ‖ B) = crc(A)·x^(8·size of B) ⊕ crc(B)`. A change of the first
 * bytes of a file therefore changes its checksum in a way that needs no reading of the rest. Polynomials have the
 * register's form, reflected: bit 63 is x^0, bit 0 is x^63.
 */
const ONE = 1n << 63n
const X_TO_THE_8 = 1n << 55n
const POLYNOMIAL = 0xd8n << 56n // x^64 equals this

/** The CRC times x^(8·size), modulo the polynomial. */
export function shiftCrc64(crc: bigint, size: number): bigint {
  let factor = ONE
  let square = X_TO_THE_8
  for (let left = BigInt(size); left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) factor = multiply(factor, square)
    square = multiply(square, square)
  }
  return multiply(crc, factor)
}

function multiply(a: bigint, b: bigint): bigint {
  let product = 0n
  let shifted = b
  for (let bit = ONE; bit > 0n; bit >>= 1n) {
    if ((a & bit) !== 0n) product ^= shifted
    shifted = (shifted & 1n) === 1n ? (shifted >> 1n) ^ POLYNOMIAL : shifted >> 1n
  }
  return product
}
