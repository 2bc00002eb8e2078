/* Copies stdin to stdout until its end, then says how many bytes came. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
  char buf[4096];
  unsigned long long total = 0;
  ssize_t n;
  while ((n = read(0, buf, sizeof buf)) > 0) {
    total += (unsigned long long)n;
    for (ssize_t done = 0; done < n;) {
      ssize_t w = write(1, buf + done, (size_t)(n - done));
      if (w < 0)
        return 2;
      done += w;
    }
  }
  fprintf(stderr, "stdin ended after %llu bytes\n", total);
  return n < 0 ? 1 : 0;
}
