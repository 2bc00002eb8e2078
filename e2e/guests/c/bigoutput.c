/* bigoutput MIB [LINE]: writes so many MiB of lines of LINE bytes (newline
 * included, 128 without LINE) to stdout, as fast as it is taken. Each line
 * starts with its number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  unsigned long long left = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) << 20;
  size_t length = argc > 2 ? (size_t)atol(argv[2]) : 128;
  static char buf[1 << 16];
  if (length < 16 || length > sizeof buf)
    return 2;
  for (unsigned long long number = 0; left >= length;) {
    size_t used = 0;
    while (used + length <= sizeof buf && left >= length) {
      memset(buf + used, 'x', length);
      snprintf(buf + used, length, "%014llu", number++);
      buf[used + 14] = ' ';
      buf[used + length - 1] = '\n';
      used += length;
      left -= length;
    }
    for (size_t done = 0; done < used;) {
      ssize_t n = write(1, buf + done, used - done);
      if (n < 0)
        return 3;
      done += (size_t)n;
    }
  }
  return 0;
}
