/*
 * The application in a container of the tests: no library but libc. Says what it finds, one line, and stays until it is
 * told to stop; exits with 7 then.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL ? "-" : value;
}

/* What an SQLite database begins with, or "-" when there is none. */
static const char *beginning(char into[16]) {
  char path[4096];
  snprintf(path, sizeof path, "%s/app.db", variable("LITEFS_FUSE_DIR"));
  int fd = open(path, O_RDONLY);
  if (fd < 0) return "-";
  ssize_t size = read(fd, into, 16);
  close(fd);
  return size == 16 ? into : "?";
}

int main(void) {
  char header[16] = "";
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  printf("up role=%s parent=%d database=%s BUN_BE_BUN=%s LD_PRELOAD=%s\n", variable("LITEFS_ROLE"), getppid(),
         beginning(header), variable("BUN_BE_BUN"), variable("LD_PRELOAD"));
  fflush(stdout);
  int signal;
  sigwait(&signals, &signal);
  return 7;
}
