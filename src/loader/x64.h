/* x86-64: numbers of system calls, how they are made, how a thread starts, and where the kernel begins. */
#pragma once

enum {
  SYS_WRITE = 1,
  SYS_CLOSE = 3,
  SYS_LSEEK = 8,
  SYS_MMAP = 9,
  SYS_MPROTECT = 10,
  SYS_MUNMAP = 11,
  SYS_MADVISE = 28,
  SYS_CLONE = 56,
  SYS_EXIT = 60,
  SYS_GETCWD = 79,
  SYS_FUTEX = 202,
  SYS_SCHED_GETAFFINITY = 204,
  SYS_EXIT_GROUP = 231,
  SYS_OPENAT = 257,
  SYS_PRLIMIT64 = 302,
};

static inline long system_call(long number, long a, long b, long c, long d, long e, long f) {
  register long fourth __asm__("r10") = d;
  register long fifth __asm__("r8") = e;
  register long sixth __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                   : "rcx", "r11", "memory");
  return result;
}

/* `stack` is its upper end, a multiple of 16. */
static inline long start_thread(void *stack, int *id, void (*run)(void)) {
  register int *cleared_id __asm__("r10") = id;
  register long storage __asm__("r8") = 0;
  register void (*body)(void) __asm__("r12") = run;
  long result;
  __asm__ volatile(
      "syscall\n"
      "test %%rax, %%rax\n"
      "jnz 1f\n"
      "xor %%ebp, %%ebp\n"
      "call *%[body]\n"
      "1:"
      : "=a"(result)
      : "a"((long)SYS_CLONE), "D"((long)THREAD_FLAGS), "S"(stack), "d"(id), "r"(cleared_id), "r"(storage), [body] "r"(body)
      : "rcx", "r11", "memory");
  return result;
}

/* This processor sees what was written. */
static inline void clean_instruction_cache(uintptr_t start, uintptr_t end) {
  (void)start;
  (void)end;
}

/* rdx would be a function to call at the exit. */
__asm__(
    ".globl _start\n"
    ".hidden _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rbx\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call load\n"
    "  mov %rbx, %rsp\n"
    "  xor %edx, %edx\n"
    "  jmp *%rax\n");
