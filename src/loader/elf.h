/* What the loader reads of ELF files of 64 bits, and of the auxiliary vector. The names of the format are in comments. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct elf_header { /* Elf64_Ehdr */
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, program_offset, section_offset;
  uint32_t flags;
  uint16_t header_size, program_size, program_count, section_size, section_count, section_names;
};

struct program_header { /* Elf64_Phdr */
  uint32_t type, flags;
  uint64_t file_offset, address, physical_address, file_size, memory_size, align;
};

_Static_assert(sizeof(struct elf_header) == 64, "the ELF header has 64 bytes");
_Static_assert(sizeof(struct program_header) == 56, "a program header has 56 bytes");

enum { SEGMENT_LOAD = 1 };                                             /* PT_ */
enum { SEGMENT_EXECUTE = 1, SEGMENT_WRITE = 2, SEGMENT_READ = 4 };     /* PF_ */
enum { AT_PHDR = 3, AT_PHNUM = 5, AT_PAGESZ = 6, AT_BASE = 7, AT_ENTRY = 9 };
