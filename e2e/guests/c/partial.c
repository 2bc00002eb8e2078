/* Writes what tries the line splitting of a log: a line in pieces, a line of
 * 40000 bytes, an empty line, text on both streams, and an end without
 * newline. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void put(int fd, const char *text) {
  for (size_t left = strlen(text); left > 0;) {
    ssize_t n = write(fd, text, left);
    if (n < 0)
      _exit(1);
    text += n;
    left -= (size_t)n;
  }
}

int main(void) {
  static char big[40002];
  put(1, "in ");
  put(1, "three ");
  put(1, "pieces\n");
  memset(big, 'b', 40000);
  big[40000] = '\n';
  put(1, big);
  put(1, "\n");
  put(2, "to stderr\n");
  put(2, "stderr without newline");
  put(1, "stdout without newline");
  return 0;
}
