/* Says that it is up, then waits for its end without using the CPU. */
#include <stdio.h>
#include <time.h>

int main(void) {
  puts("up");
  fflush(stdout);
  for (;;) {
    struct timespec hour = {.tv_sec = 3600};
    nanosleep(&hour, NULL);
  }
}
