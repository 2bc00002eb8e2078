/* Shows what a guest was given; prints the lines of the Go and Rust guests of
 * the same name. */
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv) {
  puts("hello from c");
  for (int i = 0; i < argc; i++)
    printf("arg %d %s\n", i, argv[i]);
  for (char **kv = environ; *kv; kv++)
    printf("env %s\n", *kv);
  fflush(stdout);
  fputs("bye from c\n", stderr);
  const char *code = getenv("EXIT_CODE");
  return code ? atoi(code) : 0;
}
