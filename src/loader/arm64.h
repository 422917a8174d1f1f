/* arm64: numbers of system calls, how they are made, how a thread starts, and where the kernel begins. */
#pragma once

enum {
  SYS_GETCWD = 17,
  SYS_OPENAT = 56,
  SYS_CLOSE = 57,
  SYS_LSEEK = 62,
  SYS_WRITE = 64,
  SYS_EXIT = 93,
  SYS_EXIT_GROUP = 94,
  SYS_FUTEX = 98,
  SYS_SCHED_GETAFFINITY = 123,
  SYS_MUNMAP = 215,
  SYS_CLONE = 220,
  SYS_MMAP = 222,
  SYS_MPROTECT = 226,
  SYS_MADVISE = 233,
  SYS_PRLIMIT64 = 261,
};

static inline long system_call(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
}

/* `stack` is its upper end, a multiple of 16. */
static inline long start_thread(void *stack, int *id, void (*run)(void)) {
  register long x8 __asm__("x8") = SYS_CLONE;
  register long x0 __asm__("x0") = THREAD_FLAGS;
  register void *x1 __asm__("x1") = stack;
  register int *x2 __asm__("x2") = id;
  register long x3 __asm__("x3") = 0; /* storage of the thread */
  register int *x4 __asm__("x4") = id;
  register void (*body)(void) __asm__("x19") = run;
  __asm__ volatile(
      "svc 0\n"
      "cbnz x0, 1f\n"
      "mov x29, xzr\n"
      "blr %[body]\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), [body] "r"(body)
      : "memory", "cc", "x30");
  return x0;
}

/*
 * This processor may have read instructions before they were written: what was written goes out to where instructions
 * are fetched from, then they are forgotten. CTR_EL0 has the sizes of cache lines, as powers of two of 4 bytes.
 */
static inline void clean_instruction_cache(uintptr_t start, uintptr_t end) {
  uint64_t sizes;
  __asm__ volatile("mrs %0, ctr_el0" : "=r"(sizes));
  uintptr_t data_line = 4UL << (sizes >> 16 & 15), instruction_line = 4UL << (sizes & 15);
  for (uintptr_t line = start & -data_line; line < end; line += data_line) {
    __asm__ volatile("dc cvau, %0" ::"r"(line) : "memory");
  }
  __asm__ volatile("dsb ish" ::: "memory");
  for (uintptr_t line = start & -instruction_line; line < end; line += instruction_line) {
    __asm__ volatile("ic ivau, %0" ::"r"(line) : "memory");
  }
  __asm__ volatile("dsb ish\nisb" ::: "memory");
}

/* x0 would be a function to call at the exit. */
__asm__(
    ".globl _start\n"
    ".hidden _start\n"
    "_start:\n"
    "  mov x29, xzr\n"
    "  mov x30, xzr\n"
    "  mov x19, sp\n"
    "  mov x0, sp\n"
    "  bl load\n"
    "  mov sp, x19\n"
    "  mov x16, x0\n"
    "  mov x0, xzr\n"
    "  br x16\n");
