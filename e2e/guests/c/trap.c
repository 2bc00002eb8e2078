/* trap KIND: traps inside named functions, so that a test can look for their
 * names in the message: main, open_valve, turn_wheel, and one per kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED __attribute__((noinline, used))

static volatile int zero;
static volatile unsigned long far_away = 0xfffffff0ul;
typedef int (*valve)(int);
static valve volatile no_valve;

NAMED int hit_unreachable(int n) {
  if (n > -1000)
    __builtin_trap();
  return n;
}

NAMED int divide_by_zero(int n) { return n / zero; }

NAMED int read_out_of_bounds(int n) { return n + *(volatile int *)far_away; }

NAMED int call_null(int n) { return no_valve(n) + 1; }

NAMED int recurse_for_ever(int n) {
  if (n == zero - 1)
    return n;
  return recurse_for_ever(n + 1) * 3 + n;
}

NAMED int turn_wheel(const char *kind, int n) {
  if (!strcmp(kind, "unreachable"))
    return hit_unreachable(n) + 1;
  if (!strcmp(kind, "div0"))
    return divide_by_zero(n) + 1;
  if (!strcmp(kind, "oob"))
    return read_out_of_bounds(n) + 1;
  if (!strcmp(kind, "nullcall"))
    return call_null(n) + 1;
  if (!strcmp(kind, "recursion"))
    return recurse_for_ever(n) + 1;
  if (!strcmp(kind, "abort"))
    abort();
  fprintf(stderr, "trap: no kind %s\n", kind);
  return -1;
}

NAMED int open_valve(const char *kind, int n) { return turn_wheel(kind, n) + 1; }

int main(int argc, char **argv) {
  printf("about to trap\n");
  fflush(stdout);
  return open_valve(argc > 1 ? argv[1] : "unreachable", argc);
}
