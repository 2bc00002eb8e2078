/* Uses a whole CPU for ever and makes no call: only SIGKILL ends it. */
#include <stdio.h>

int main(void) {
  puts("spinning");
  fflush(stdout);
  for (volatile unsigned long n = 0;; n++) {
  }
}
