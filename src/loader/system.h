/* The kernel, as far as the loader needs it. What differs between architectures is in x64.h and arm64.h. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { ENOENT = 2, EACCES = 13 };
enum { AT_FDCWD = -100, O_RDONLY = 0, O_CLOEXEC = 02000000, SEEK_END = 2 };
enum { PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };
enum {
  MAP_PRIVATE = 0x02,
  MAP_FIXED = 0x10,
  MAP_ANONYMOUS = 0x20,
  MAP_NORESERVE = 0x4000,
  MAP_FIXED_NOREPLACE = 0x100000,
};
enum { MADV_WILLNEED = 3, MADV_HUGEPAGE = 14 };
enum { FUTEX_WAIT = 0 };
enum { RLIMIT_STACK = 3, RLIMIT_NOFILE = 7, RLIMIT_AS = 9 };

/* CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, PARENT_SETTID, CHILD_CLEARTID */
enum { THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x100000 | 0x200000 };

#if defined(__x86_64__)
#include "x64.h"
#elif defined(__aarch64__)
#include "arm64.h"
#else
#error "the loader knows x86-64 and arm64"
#endif

/* The kernel returns an errno as a negative number. */
static inline int is_error(long result) { return (unsigned long)result > -4096UL; }

static inline void write_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    long written = system_call(SYS_WRITE, fd, (long)bytes, (long)size, 0, 0, 0);
    if (is_error(written)) return;
    bytes += written;
    size -= (size_t)written;
  }
}

static inline _Noreturn void exit_process(int code) {
  for (;;) system_call(SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0);
}

static inline _Noreturn void exit_thread(void) {
  for (;;) system_call(SYS_EXIT, 0, 0, 0, 0, 0, 0);
}
