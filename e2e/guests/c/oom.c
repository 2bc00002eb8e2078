/* Touches more and more memory until the kernel ends it; exits 3 if memory ends
 * before that. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  for (int mib = 1;; mib++) {
    volatile char *p = malloc(1 << 20);
    if (!p) {
      printf("malloc failed after %d MiB\n", mib - 1);
      return 3;
    }
    for (int i = 0; i < 1 << 20; i += 4096)
      p[i] = (char)mib;
    if (mib % 16 == 0) {
      printf("touched %d MiB\n", mib);
      fflush(stdout);
    }
  }
}
