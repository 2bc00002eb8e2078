/* Misbehaves in the way that its argument says, and as long as it is let.
 *
 *   hostile calls      calls the host without end
 *   hostile opens      opens and closes files without end
 *   hostile files N    opens N files; prints how many it got, and the errno
 *   hostile sockets N  likewise with sockets
 *   hostile deep       calls the host from an endless recursion
 *   hostile grow       takes all memory that there is, and touches it
 *   hostile reserve    takes all memory, and touches none
 *   hostile lines N    writes N empty lines, and as many bytes without an end of line
 *   hostile sizes      passes absurd counts and places to the host
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

__attribute__((import_module("wasi_snapshot_preview1"), import_name("sock_open"))) int sock_open(int family, int type, int *fd);

enum { page = 65536 };

static void calls(void) {
  __wasi_timestamp_t t;
  for (;;)
    (void)!__wasi_clock_time_get(1, 0, &t);
}

static void opens(void) {
  for (;;) {
    __wasi_fd_t fd;
    if (__wasi_path_open(3, 0, "tmp/file", __WASI_OFLAGS_CREAT, 0, 0, 0, &fd) == 0)
      (void)!__wasi_fd_close(fd);
  }
}

static void files(int n) {
  int got = 0, errno_ = 0;
  __wasi_fd_t fd;
  while (got < n && !(errno_ = __wasi_path_open(3, 0, "tmp/file", __WASI_OFLAGS_CREAT, 0, 0, 0, &fd)))
    got++;
  printf("%d files, errno %d\n", got, errno_);
}

static void sockets(int n) {
  int got = 0, errno_ = 0, fd;
  while (got < n && !(errno_ = sock_open(1, 2, &fd)))
    got++;
  printf("%d sockets, errno %d\n", got, errno_);
}

/* The compiler must not make a loop of it; the frames use no memory of the
 * guest's, which would end before the stack. */
static volatile int deeper = 1;

__attribute__((noinline)) static int deep(int depth) {
  static __wasi_timestamp_t t;
  (void)!__wasi_clock_time_get(1, 0, &t);
  if (deeper)
    deeper = deep(depth + 1);
  return (int)t + depth;
}

static void grow(int touch) {
  size_t pages = 0;
  for (size_t by = 1024; by; by /= 2)
    for (;;) {
      size_t at = __builtin_wasm_memory_grow(0, by);
      if (at == (size_t)-1)
        break;
      pages += by;
      if (touch)
        for (size_t p = at; p < at + by; p++)
          for (size_t i = 0; i < page; i += 4096)
            *(volatile char *)(p * page + i) = 1;
    }
  printf("%zu pages\n", pages);
}

static void lines(int n) {
  for (int i = 0; i < n; i++)
    (void)!write(1, "\n", 1);
  char byte = 'x';
  for (int i = 0; i < n; i++)
    (void)!write(1, &byte, 1);
}

static void sizes(void) {
  static const uint32_t absurd[] = {1 << 28, 1u << 31, 0xffffffff, 0x7fffffff, 1025};
  int refused = 0;
  for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
    __wasi_size_t n;
    uint8_t *p = (uint8_t *)(uintptr_t)absurd[i];
    refused += __wasi_fd_read(0, (void *)8, absurd[i], &n) != 0;
    refused += __wasi_fd_write(1, (void *)8, absurd[i], &n) != 0;
    refused += __wasi_poll_oneoff((void *)8, (void *)8, absurd[i] | 1 << 20, &n) != 0;
    refused += __wasi_random_get(p, 0xfffffff0) != 0;
    refused += __wasi_fd_readdir(3, p, 0xfffffff0, 0, &n) != 0;
    __wasi_size_t bad = 0xfffffffd;
    refused += __wasi_clock_time_get(1, 0, (void *)(uintptr_t)bad) != 0;
  }
  printf("%d refused\n", refused);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  int n = argc > 2 ? atoi(argv[2]) : 0;
  puts("begun");
  fflush(stdout);
  if (!strcmp(what, "calls"))
    calls();
  else if (!strcmp(what, "opens"))
    opens();
  else if (!strcmp(what, "files"))
    files(n);
  else if (!strcmp(what, "sockets"))
    sockets(n);
  else if (!strcmp(what, "deep"))
    return deep(1);
  else if (!strcmp(what, "grow"))
    grow(1);
  else if (!strcmp(what, "reserve"))
    grow(0);
  else if (!strcmp(what, "lines"))
    lines(n);
  else if (!strcmp(what, "sizes"))
    sizes();
  else
    return 2;
  return 0;
}
