/* hostcalls COUNT: asks the host for the time 100000 times, says "ready", rests
 * for half a second, asks COUNT times more, says how long one call took, and
 * waits for its end. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static volatile long long last;

static void call(long count) {
  for (long i = 0; i < count; i++)
    last = now();
}

static void rest(long seconds, long nanoseconds) {
  struct timespec pause = {.tv_sec = seconds, .tv_nsec = nanoseconds};
  nanosleep(&pause, NULL);
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 1000000;
  call(100000);
  puts("ready");
  fflush(stdout);
  rest(0, 500000000);
  long long start = now();
  call(count);
  printf("%lld ns per call\n", (now() - start) / (count > 0 ? count : 1));
  fflush(stdout);
  for (;;)
    rest(3600, 0);
}
