/*
 * Decompresses one block of the LZ4 format: sequences of a token, literals, and a match.
 *
 *     token     u8: upper 4 bits the number of literals, lower 4 the length of the match less 4
 *     …         where one of them is 15, bytes are added to it until one is not 255; literals' come before the literals
 *     literals
 *     offset    u16, little endian: how far back the match begins; it may overlap what it makes
 *
 * The last sequence ends after its literals.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

static inline void copy_8(uint8_t *to, const uint8_t *from) { __builtin_memcpy(to, from, 8); }
static inline void copy_16(uint8_t *to, const uint8_t *from) { __builtin_memcpy(to, from, 16); }

/* Whether `from` was a block that makes exactly `to_size` bytes. Nothing outside the two ranges is read or written. */
static int lz4_decompress(const uint8_t *from, size_t from_size, uint8_t *to, size_t to_size) {
  const uint8_t *const from_end = from + from_size;
  uint8_t *const to_start = to, *const to_end = to + to_size;
  while (from < from_end) {
    unsigned token = *from++;
    size_t literals = token >> 4;
    if (literals == 15) {
      uint8_t more;
      do {
        if (from == from_end) return 0;
        more = *from++;
        literals += more;
      } while (more == 255);
    }
    if (literals > (size_t)(from_end - from) || literals > (size_t)(to_end - to)) return 0;
    if ((size_t)(from_end - from) >= literals + 16 && (size_t)(to_end - to) >= literals + 16) {
      for (size_t done = 0; done < literals; done += 16) copy_16(to + done, from + done);
    } else {
      for (size_t done = 0; done < literals; done++) to[done] = from[done];
    }
    from += literals;
    to += literals;
    if (from == from_end) return to == to_end;

    if (from_end - from < 2) return 0;
    size_t offset = from[0] | from[1] << 8;
    from += 2;
    size_t length = token & 15;
    if (length == 15) {
      uint8_t more;
      do {
        if (from == from_end) return 0;
        more = *from++;
        length += more;
      } while (more == 255);
    }
    length += 4;
    if (offset == 0 || offset > (size_t)(to - to_start) || length > (size_t)(to_end - to)) return 0;
    const uint8_t *match = to - offset;
    if (offset >= 16 && (size_t)(to_end - to) >= length + 16) {
      for (size_t done = 0; done < length; done += 16) copy_16(to + done, match + done);
    } else if (offset >= 8 && (size_t)(to_end - to) >= length + 8) {
      for (size_t done = 0; done < length; done += 8) copy_8(to + done, match + done);
    } else {
      for (size_t done = 0; done < length; done++) to[done] = match[done];
    }
    to += length;
  }
  return 0;
}
