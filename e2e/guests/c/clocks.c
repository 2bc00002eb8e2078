/* Checks clocks, sleep, poll and random numbers; exits 0 only when all is
 * right. Bounds are wide enough for a loaded machine, but never too early. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int checks;

#define CHECK(cond)                                                            \
  do {                                                                         \
    checks++;                                                                  \
    if (!(cond)) {                                                             \
      printf("FAIL line %d: %s (errno %d %s)\n", __LINE__, #cond, errno,       \
             strerror(errno));                                                 \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

static long long now(clockid_t id) {
  struct timespec t;
  CHECK(clock_gettime(id, &t) == 0);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void clocks(void) {
  struct timespec res;
  CHECK(clock_getres(CLOCK_MONOTONIC, &res) == 0 && res.tv_sec == 0 &&
        res.tv_nsec > 0);
  /* 2024 to 2100 */
  long long wall = now(CLOCK_REALTIME) / 1000000000;
  CHECK(wall > 1704067200ll && wall < 4102444800ll);
  long long before = now(CLOCK_MONOTONIC);
  for (int i = 0; i < 1000; i++) {
    long long t = now(CLOCK_MONOTONIC);
    CHECK(t >= before);
    before = t;
  }
}

static void sleeps(void) {
  struct timespec pause = {.tv_nsec = 50 * 1000000};
  long long start = now(CLOCK_MONOTONIC);
  CHECK(nanosleep(&pause, NULL) == 0);
  long long took = now(CLOCK_MONOTONIC) - start;
  CHECK(took >= 50 * 1000000ll && took < 5000 * 1000000ll);
}

static void polls(void) {
  struct pollfd out = {.fd = 1, .events = POLLOUT};
  CHECK(poll(&out, 1, 1000) == 1 && (out.revents & POLLOUT));
  long long start = now(CLOCK_MONOTONIC);
  CHECK(poll(NULL, 0, 30) == 0);
  CHECK(now(CLOCK_MONOTONIC) - start >= 30 * 1000000ll);
}

static void randoms(void) {
  unsigned char a[64] = {0}, b[64] = {0}, big[1024];
  CHECK(getentropy(a, sizeof a) == 0 && getentropy(b, sizeof b) == 0);
  CHECK(memcmp(a, b, sizeof a) != 0);
  int seen[256] = {0}, distinct = 0;
  for (int i = 0; i < 1024; i += 256)
    CHECK(getentropy(big + i, 256) == 0);
  for (int i = 0; i < 1024; i++)
    distinct += !seen[big[i]]++;
  CHECK(distinct > 200);
}

int main(void) {
  clocks();
  sleeps();
  polls();
  randoms();
  printf("clocks: ok %d checks\n", checks);
  return 0;
}
