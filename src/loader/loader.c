/*
 * The loader: what makes LiteFS one static file.
 *
 * The file that people run is this loader, and behind it all that the program needs: musl's libc and the JavaScript
 * runtime with the program in it. The kernel starts the loader; the loader does with the runtime what the kernel would
 * have done, and jumps into musl's dynamic linker. No other file is opened, nothing is written anywhere, and
 * /proc/self/exe stays the one file, so the program can start itself again by its path.
 *
 * Layout of the file (numbers are little endian; addresses are the runtime's own, it is not relocatable):
 *
 *     offset 0          this ELF file: of type DYN, without an interpreter, at most some 100 KiB.
 *                       It is the loader and, for the dynamic linker, the library libstdc++ (see below).
 *                       Somewhere in it is `payload`, 48 bytes that scripts/static/static-file.ts has filled in.
 *     libc_offset       musl's libc.so, as it is: both libc and the dynamic linker
 *     runtime_offset    plain form: the runtime, an ELF file of type EXEC, as it is
 *                       small form: only its ELF header and program headers
 *     blocks_offset     small form: `block_count` times struct block, 32 bytes each: one LZ4 block of at most 1 MiB
 *     …                 small form: what these blocks say, one after the other
 *     file_size         the end
 *
 * libc_offset and runtime_offset are multiples of 64 KiB, the largest page of arm64, since they are mapped.
 *
 * What happens, in this order:
 *
 * 1. The kernel maps this ELF file alone, anywhere, and starts `_start`: no libc, no relocations, the stack as execve(2)
 *    has left it (argc, argv, envp, auxv).
 * 2. /proc/self/exe is opened. Without /proc nothing would work later either: that is said and it ends here. So is what
 *    the runtime would only say in words of its own, or read as something else (`check_surroundings`, `check_text`).
 * 3. The runtime's addresses are reserved, where nothing else may be. Plain form: its segments are mapped from the file,
 *    so that all instances share them in the page cache. Small form: memory that is decompressed into, by two threads
 *    where there are two CPUs; then its protections.
 * 4. musl's libc.so is mapped from the file, anywhere.
 * 5. Variables that would make the runtime or the dynamic linker something else get hidden names (`hide_variables`).
 * 6. The auxiliary vector is made to name the runtime: AT_PHDR, AT_PHNUM, AT_ENTRY, and as its interpreter musl, AT_BASE.
 * 7. With the stack pointer as it was at the beginning, the entry of musl's dynamic linker is jumped to.
 * 8. The dynamic linker finds that the runtime needs the library "/proc/self/exe" (a name as long as "libstdc++.so.6",
 *    in whose place it was written), and maps this ELF file a second time, now as a library. So no library has to be
 *    put into a temporary file, and systems that forbid executable memory files are fine.
 *
 * Since the first copy is never relocated, its code keeps to what needs no relocation: no tables of pointers, no
 * functions of libc. The build refuses an object file of it with an undefined symbol.
 */
#include "elf.h"
#include "lz4.h"
#include "system.h"

#define PREFIX "ERROR: Cannot start LiteFS: "

struct payload {
  char magic[8];
  uint64_t file_size;
  uint64_t libc_offset;
  uint64_t runtime_offset;
  uint64_t block_count; /* 0: the plain form */
  uint64_t blocks_offset;
};

/* Filled in after the compiler has seen it, so it must not rely on what stands here. */
static const volatile struct payload payload = {.magic = {'l', 'i', 't', 'e', 'f', 's', 0, 1}};

struct block {
  uint64_t offset; /* in the file */
  uint64_t size;   /* there */
  uint64_t address;
  uint64_t raw_size;
};

/* libstdc++ calls itself by the address of this, which is normally in a file of the compiler's. */
void *__dso_handle __attribute__((visibility("hidden"))) = &__dso_handle;

static uintptr_t page_size;

static _Noreturn void fail(const char *message, long result) {
  size_t size = 0;
  while (message[size] != 0) size++;
  write_all(2, PREFIX, sizeof PREFIX - 1);
  write_all(2, message, size);
  if (result < 0) {
    char digits[4];
    size_t start = sizeof digits;
    for (long number = -result; number > 0; number /= 10) digits[--start] = '0' + number % 10;
    write_all(2, " (errno ", 8);
    write_all(2, digits + start, sizeof digits - start);
    write_all(2, ")", 1);
  }
  write_all(2, "\n", 1);
  exit_process(1);
}

static void require(int resource, uint64_t least, const char *message) {
  struct {
    uint64_t now, most;
  } limit;
  long result = system_call(SYS_PRLIMIT64, 0, resource, 0, (long)&limit, 0, 0);
  if (!is_error(result) && limit.now < least) fail(message, 0);
}

static void check_surroundings(void) {
  static char path[4096];
  require(RLIMIT_NOFILE, 16, "fewer than 16 files may be open, raise the limit (ulimit -n)");
  /* The runtime reserves that much before it compiles anything. */
  require(RLIMIT_AS, 2560UL << 20, "less than 2.5 GiB of addresses may be used, raise the limit (ulimit -v)");
  require(RLIMIT_STACK, 256UL << 10, "the stack may have less than 256 KiB, raise the limit (ulimit -s)");
  long result = system_call(SYS_GETCWD, (long)path, sizeof path, 0, 0, 0, 0);
  if (result == -ENOENT) fail("the working directory was removed, change to another one (cd)", 0);
  /* Of a directory outside of the root the kernel says "(unreachable)…". */
  if (!is_error(result) && path[0] != '/') fail("the working directory is not in this root, change to another one (cd)", 0);
}

/* Of the character that begins there, 0 when none does: neither one that is too long for itself, nor half of a pair. */
static size_t character_size(const uint8_t *at) {
  if (at[0] < 0x80) return 1;
  size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
  if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
  for (size_t i = 1; i < size; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  if (at[0] == 0xe0 && at[1] < 0xa0) return 0;
  if (at[0] == 0xed && at[1] > 0x9f) return 0;
  if (at[0] == 0xf0 && at[1] < 0x90) return 0;
  if (at[0] == 0xf4 && at[1] > 0x8f) return 0;
  return size;
}

/* The runtime puts another character in the place of what is no text: a name would be another one. */
static void check_text(char **texts, const char *start, const char *what) {
  for (; *texts != 0; texts++) {
    size_t same = 0, size = 0, shown = 0;
    while (start[same] != 0 && (*texts)[same] == start[same]) same++;
    if (start[same] != 0) continue;
    const uint8_t *at = (const uint8_t *)*texts;
    while (*at != 0 && (size = character_size(at)) != 0) at += size;
    if (*at == 0) continue;
    while ((*texts)[shown] != 0 && !(start[0] != 0 && (*texts)[shown] == '=')) shown++;
    size_t length = 0;
    while (what[length] != 0) length++;
    write_all(2, PREFIX, sizeof PREFIX - 1);
    write_all(2, what, length);
    write_all(2, *texts, shown);
    write_all(2, "\n", 1);
    exit_process(2);
  }
}

static uintptr_t page_start(uintptr_t address) { return address & -page_size; }
static uintptr_t page_end(uintptr_t address) { return page_start(address + page_size - 1); }

/* The numbers are those of the ELF format on the left, of mmap(2) on the right. */
static int protection_of(const struct program_header *segment) {
  return (segment->flags & SEGMENT_READ ? PROT_READ : 0) | (segment->flags & SEGMENT_WRITE ? PROT_WRITE : 0) |
         (segment->flags & SEGMENT_EXECUTE ? PROT_EXEC : 0);
}

static uintptr_t map(uintptr_t address, size_t size, int protection, int flags, int fd, uint64_t offset) {
  long result = system_call(SYS_MMAP, (long)address, (long)size, protection, MAP_PRIVATE | flags, fd, (long)offset);
  if (is_error(result)) fail("no memory can be mapped", result);
  return (uintptr_t)result;
}

static void unmap(uintptr_t address, size_t size) { system_call(SYS_MUNMAP, (long)address, (long)size, 0, 0, 0, 0); }

static void protect(uintptr_t start, uintptr_t end, int protection) {
  long result = system_call(SYS_MPROTECT, (long)start, (long)(end - start), protection, 0, 0, 0);
  if (is_error(result)) fail("memory cannot be made executable; a security policy may forbid it", result);
}

/* An ELF file inside ours, of which at least the headers are mapped. */
struct image {
  const struct elf_header *header;
  const struct program_header *segments;
  uintptr_t start, end; /* of the addresses it wants; whole pages */
};

static struct image image_at(uintptr_t address) {
  const struct elf_header *header = (const void *)address;
  struct image image = {header, (const void *)(address + header->program_offset), -1UL, 0};
  for (int i = 0; i < header->program_count; i++) {
    const struct program_header *segment = &image.segments[i];
    if (segment->type != SEGMENT_LOAD) continue;
    if (segment->align < page_size) fail("the pages of this system are larger than the program is made for", 0);
    uintptr_t start = page_start(segment->address), end = page_end(segment->address + segment->memory_size);
    if (start < image.start) image.start = start;
    if (end > image.end) image.end = end;
  }
  return image;
}

/* Maps the segments from the file; `bias` is added to their addresses, which are reserved and readable to nobody. */
static void map_segments(const struct image *image, int fd, uint64_t offset, uintptr_t bias) {
  for (int i = 0; i < image->header->program_count; i++) {
    const struct program_header *segment = &image->segments[i];
    if (segment->type != SEGMENT_LOAD) continue;
    int protection = protection_of(segment);
    uintptr_t address = bias + segment->address, start = page_start(address);
    uintptr_t file_end = address + segment->file_size, mapped_end = page_end(file_end);
    uintptr_t end = page_end(address + segment->memory_size);
    map(start, file_end - start, protection, MAP_FIXED, fd, offset + page_start(segment->file_offset));
    if (protection & PROT_WRITE) {
      /* The rest of the page, too, when the segment is longer there only in the file: musl makes use of all of it. */
      for (volatile char *byte = (char *)file_end; (uintptr_t)byte < mapped_end; byte++) *byte = 0;
    }
    if (end > mapped_end) protect(mapped_end, end, protection);
  }
}

/* What the threads that decompress share. */
static struct {
  uintptr_t file;
  const struct block *blocks;
  uint64_t block_count;
  uint64_t next;
} work;

static void decompress_blocks(void) {
  for (;;) {
    uint64_t index = __atomic_fetch_add(&work.next, 1, __ATOMIC_RELAXED);
    if (index >= work.block_count) return;
    const struct block *block = &work.blocks[index];
    const uint8_t *from = (const uint8_t *)(work.file + block->offset);
    if (!lz4_decompress(from, block->size, (uint8_t *)block->address, block->raw_size)) {
      fail("the file is damaged", 0);
    }
    clean_instruction_cache(block->address, block->address + block->raw_size);
  }
}

static uint8_t thread_stack[16384] __attribute__((aligned(64)));
static int thread_id;

static _Noreturn void run_thread(void) {
  decompress_blocks();
  exit_thread();
}

static int has_two_cpus(void) {
  static uint64_t cpus[128]; /* a bit for each */
  long size = system_call(SYS_SCHED_GETAFFINITY, 0, sizeof cpus, (long)cpus, 0, 0, 0);
  int words = 0;
  for (long i = 0; i < size / 8; i++) {
    if ((cpus[i] & (cpus[i] - 1)) != 0) return 1;
    if (cpus[i] != 0) words++;
  }
  return words > 1;
}

/* Alone when there is one CPU, or when no thread can be had. The thread is gone when this returns. */
static void decompress_with_two_threads(void) {
  int *id = &thread_id;
  if (has_two_cpus()) {
    /* The kernel writes 0 here when the thread has ended, and wakes who waits for that. */
    __atomic_store_n(id, 1, __ATOMIC_RELAXED);
    long result = start_thread(thread_stack + sizeof thread_stack, id, run_thread);
    if (is_error(result)) __atomic_store_n(id, 0, __ATOMIC_RELAXED);
  }
  decompress_blocks();
  for (int value; (value = __atomic_load_n(id, __ATOMIC_ACQUIRE)) != 0;) {
    system_call(SYS_FUTEX, (long)id, FUTEX_WAIT, value, 0, 0, 0);
  }
}

static void decompress_segments(const struct image *image, int fd) {
  work.file = map(0, payload.file_size, PROT_READ, 0, fd, 0);
  system_call(SYS_MADVISE, (long)work.file, (long)payload.file_size, MADV_WILLNEED, 0, 0, 0);
  work.blocks = (const void *)(work.file + payload.blocks_offset);
  work.block_count = payload.block_count;
  /* In large pages, where the kernel has some: that halves the time. */
  protect(image->start, image->end, PROT_READ | PROT_WRITE);
  system_call(SYS_MADVISE, (long)image->start, (long)(image->end - image->start), MADV_HUGEPAGE, 0, 0, 0);
  decompress_with_two_threads();
  for (int i = 0; i < image->header->program_count; i++) {
    const struct program_header *segment = &image->segments[i];
    int protection = protection_of(segment);
    if (segment->type != SEGMENT_LOAD || protection == (PROT_READ | PROT_WRITE)) continue;
    protect(page_start(segment->address), page_end(segment->address + segment->memory_size), protection);
  }
  unmap(work.file, payload.file_size);
}

static int open_own_file(void) {
  long fd = system_call(SYS_OPENAT, AT_FDCWD, (long)"/proc/self/exe", O_RDONLY | O_CLOEXEC, 0, 0, 0);
  if (fd == -ENOENT) fail("there is no /proc here, mount it: mount -t proc proc /proc", 0);
  if (fd == -EACCES) fail("this user may not read the program's file, only execute it: chmod a+r", 0);
  if (is_error(fd)) fail("/proc/self/exe cannot be opened", fd);
  long size = system_call(SYS_LSEEK, fd, 0, SEEK_END, 0, 0, 0);
  if (is_error(size)) fail("/proc/self/exe cannot be read", size);
  if ((uint64_t)size != payload.file_size) fail("the file is not whole, copy or download it again", 0);
  return (int)fd;
}

static struct image load_runtime(int fd) {
  uintptr_t headers = map(0, page_size, PROT_READ, 0, fd, payload.runtime_offset);
  struct image image = image_at(headers);
  long got = system_call(SYS_MMAP, (long)image.start, (long)(image.end - image.start), PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (is_error(got)) fail("the addresses that the program needs are in use, or too little memory is allowed", got);
  /* A kernel before 4.17 takes the address as a wish. */
  if ((uintptr_t)got != image.start) fail("the addresses that the program needs are in use", 0);
  if (payload.block_count == 0) {
    map_segments(&image, fd, payload.runtime_offset, 0);
  } else {
    decompress_segments(&image, fd);
  }

  /* Its first segment has the headers too. */
  struct image loaded = image_at(image.start);
  unmap(headers, page_size);
  return loaded;
}

/* Returns what was added to the addresses of libc.so; its entry in `entry`. */
static uintptr_t load_libc(int fd, uintptr_t *entry) {
  uintptr_t headers = map(0, page_size, PROT_READ, 0, fd, payload.libc_offset);
  struct image image = image_at(headers);
  size_t size = image.end - image.start;
  uintptr_t bias = map(0, size, PROT_NONE, MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) - image.start;
  map_segments(&image, fd, payload.libc_offset, bias);
  *entry = bias + image.header->entry;
  unmap(headers, page_size);
  return bias;
}

/*
 * BUN_BE_BUN=1 makes a general JavaScript runtime of the program, BUN_OPTIONS and others change what it does, and
 * LD_PRELOAD makes musl load a library that was made for the libc of the system. They are meant for the programs that
 * LiteFS starts: their first letter becomes a '%', and main.ts gives the programs the names back.
 */
static void hide_variables(char **variables) {
  for (; *variables != 0; variables++) {
    char *name = *variables;
    int is_runtimes = name[0] == 'B' && name[1] == 'U' && name[2] == 'N' && name[3] == '_';
    int is_linkers = name[0] == 'L' && name[1] == 'D' && name[2] == '_';
    if (is_runtimes || is_linkers) name[0] = '%';
  }
}

/* Called by `_start` with the stack of the process; returns where to go on. */
__attribute__((used, visibility("hidden"))) uintptr_t load(uintptr_t *stack) {
  char **variables = (char **)(stack + 1 + stack[0] + 1);
  uintptr_t *vector = (uintptr_t *)variables;
  while (*vector != 0) vector++;
  vector++;
  for (uintptr_t *pair = vector; pair[0] != 0; pair += 2) {
    if (pair[0] == AT_PAGESZ) page_size = pair[1];
  }

  check_surroundings();
  check_text((char **)(stack + 1), "", "an argument is not UTF-8 text: ");
  check_text(variables, "LITEFS_", "a variable is not UTF-8 text: ");

  int fd = open_own_file();
  struct image runtime = load_runtime(fd);
  uintptr_t entry;
  uintptr_t base = load_libc(fd, &entry);
  system_call(SYS_CLOSE, fd, 0, 0, 0, 0, 0);

  hide_variables(variables);
  for (uintptr_t *pair = vector; pair[0] != 0; pair += 2) {
    if (pair[0] == AT_PHDR) pair[1] = (uintptr_t)runtime.segments;
    if (pair[0] == AT_PHNUM) pair[1] = runtime.header->program_count;
    if (pair[0] == AT_ENTRY) pair[1] = runtime.header->entry;
    if (pair[0] == AT_BASE) pair[1] = base;
  }
  return entry;
}
