/* memhog MIB: touches so much memory, says so, and waits for its end. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
  size_t mib = argc > 1 ? (size_t)atol(argv[1]) : 16;
  volatile char *p = malloc(mib << 20);
  if (!p) {
    fprintf(stderr, "memhog: no %zu MiB\n", mib);
    return 3;
  }
  for (size_t i = 0; i < mib << 20; i += 4096)
    p[i] = 1;
  printf("holding %zu MiB\n", mib);
  fflush(stdout);
  for (;;) {
    struct timespec hour = {.tv_sec = 3600};
    nanosleep(&hour, NULL);
  }
}
