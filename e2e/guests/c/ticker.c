/* ticker MILLISECONDS [COUNT [CODE]]: writes "tick N" every so often, for ever
 * or COUNT times, and then exits with CODE. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
  long ms = argc > 1 ? atol(argv[1]) : 1000;
  long count = argc > 2 ? atol(argv[2]) : -1;
  struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  for (long i = 0; count < 0 || i < count; i++) {
    printf("tick %ld\n", i);
    fflush(stdout);
    nanosleep(&pause, NULL);
  }
  return argc > 3 ? atoi(argv[3]) : 0;
}
