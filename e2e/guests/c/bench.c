/* Measures its host and prints a line "NAME NANOSECONDS" for each thing.
 *
 *   bench calls            single calls of the host
 *   bench files DIR        reads, writes, random pages with fsync, directories
 *   bench compute          no calls at all
 *
 * DIR must be empty; it is left so. Compiled for the machine itself, it is what
 * the others are measured by, without the calls of WASI.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
  struct timespec t;
  if (clock_gettime(CLOCK_MONOTONIC, &t))
    abort();
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void must(int ok, const char *what) {
  if (!ok) {
    perror(what);
    exit(1);
  }
}

/* measure runs f over and over for a tenth of a second at least, and prints
 * the time of one of the `each` things that a run does. The first run warms up,
 * unless it takes so long that it needs none. */
static void measure(const char *name, void (*f)(void), int each) {
  enum { tenth = 100000000, second = 1000000000 };
  uint64_t start = now(), end;
  long runs = 1;
  f();
  if ((end = now()) - start < second) {
    start = end, runs = 0;
    do {
      f();
      runs++;
    } while ((end = now()) - start < tenth);
  }
  printf("%s %.1f\n", name, (double)(end - start) / ((double)runs * each));
  fflush(stdout);
}

static int fd;

/* Calls. */

#ifdef __wasi__
#include <wasi/api.h>

enum { many = 10000 };

static void clock_calls(void) {
  __wasi_timestamp_t t;
  for (int i = 0; i < many; i++)
    must(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &t) == 0, "clock");
}

static void seek_calls(void) {
  __wasi_filesize_t at;
  for (int i = 0; i < many; i++)
    must(__wasi_fd_seek(fd, i, __WASI_WHENCE_SET, &at) == 0, "seek");
}

static void random_calls(void) {
  uint8_t bytes[32];
  for (int i = 0; i < many; i++)
    must(__wasi_random_get(bytes, sizeof bytes) == 0, "random");
}

static void yield_calls(void) {
  for (int i = 0; i < many; i++)
    (void)!__wasi_sched_yield();
}

static void fdstat_calls(void) {
  __wasi_fdstat_t st;
  for (int i = 0; i < many; i++)
    must(__wasi_fd_fdstat_get(fd, &st) == 0, "fdstat");
}

static void poll_calls(void) {
  __wasi_subscription_t sub = {.u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC}}};
  __wasi_event_t event;
  __wasi_size_t n;
  for (int i = 0; i < many / 10; i++)
    must(__wasi_poll_oneoff(&sub, &event, 1, &n) == 0, "poll");
}

static void calls(const char *dir) {
  char path[256];
  snprintf(path, sizeof path, "%s/calls", dir);
  must((fd = open(path, O_CREAT | O_RDWR, 0600)) >= 0, path);
  measure("clock_time_get", clock_calls, many);
  measure("fd_seek", seek_calls, many);
  measure("random_get-32", random_calls, many);
  measure("sched_yield", yield_calls, many);
  measure("fd_fdstat_get", fdstat_calls, many);
  measure("poll_oneoff-0", poll_calls, many / 10);
  unlink(path);
}
#else
static void calls(const char *dir) {
  fprintf(stderr, "%s: this is not a guest of WASI\n", dir);
  exit(2);
}
#endif

/* Files. */

enum { MiB = 1 << 20, file_size = 16 * MiB, page = 4096, entries = 10000 };
static char *block;
static char where[256];

static void sequential(size_t size, int writing) {
  must(lseek(fd, 0, SEEK_SET) == 0, "seek");
  for (size_t at = 0; at < file_size; at += size) {
    ssize_t n = writing ? write(fd, block, size) : read(fd, block, size);
    must(n == (ssize_t)size, "transfer");
  }
}

static void write_mib(void) { sequential(MiB, 1); }
static void read_mib(void) { sequential(MiB, 0); }
static void write_4k(void) { sequential(page, 1); }
static void read_4k(void) { sequential(page, 0); }

static uint32_t any(void) {
  static uint32_t x = 2463534242u;
  x ^= x << 13, x ^= x >> 17, x ^= x << 5;
  return x;
}

static void read_pages(void) {
  for (int i = 0; i < 1000; i++)
    must(pread(fd, block, page, (off_t)(any() % (file_size / page)) * page) == page, "pread");
}

static void write_pages(void) {
  for (int i = 0; i < 1000; i++)
    must(pwrite(fd, block, page, (off_t)(any() % (file_size / page)) * page) == page, "pwrite");
}

/* A transaction as a database makes it: the old page to a journal, fsync, the
 * new page to the file, fsync, the journal emptied. */
static int journal;

static void transaction(void) {
  for (int i = 0; i < 5; i++) {
    off_t at = (off_t)(any() % (file_size / page)) * page;
    must(pread(fd, block, page, at) == page, "pread");
    must(pwrite(journal, block, page, 0) == page, "journal");
    must(fsync(journal) == 0, "fsync");
    must(pwrite(fd, block, page, at) == page, "pwrite");
    must(fsync(fd) == 0, "fsync");
    must(ftruncate(journal, 0) == 0, "ftruncate");
  }
}

static const char *entry(int i) {
  static char path[300];
  snprintf(path, sizeof path, "%s/many/entry-%05d", where, i);
  return path;
}

static void list(void) {
  char path[300];
  snprintf(path, sizeof path, "%s/many", where);
  DIR *d = opendir(path);
  must(d != NULL, path);
  int n = 0;
  while (readdir(d))
    n++;
  closedir(d);
  must(n == entries + 2, "number of entries");
}

static void stat_all(void) {
  struct stat st;
  for (int i = 0; i < entries; i++)
    must(stat(entry(i), &st) == 0, "stat");
}

static void open_close(void) {
  for (int i = 0; i < 1000; i++) {
    int f = open(entry(i), O_RDONLY);
    must(f >= 0, "open");
    close(f);
  }
}

static void create_remove(void) {
  for (int i = 0; i < 1000; i++) {
    int f = open(entry(entries + i), O_CREAT | O_WRONLY, 0600);
    must(f >= 0, "create");
    close(f);
    must(unlink(entry(entries + i)) == 0, "unlink");
  }
}

static void files(const char *dir) {
  char path[300], path2[300], sub[300];
  snprintf(where, sizeof where, "%s", dir);
  snprintf(path, sizeof path, "%s/file", dir);
  snprintf(path2, sizeof path2, "%s/journal", dir);
  snprintf(sub, sizeof sub, "%s/many", dir);
  must((block = calloc(1, MiB)) != NULL, "memory");
  must((fd = open(path, O_CREAT | O_RDWR, 0600)) >= 0, path);
  must((journal = open(path2, O_CREAT | O_RDWR, 0600)) >= 0, path2);
  measure("write-1MiB", write_mib, file_size / MiB);
  measure("read-1MiB", read_mib, file_size / MiB);
  measure("write-4KiB", write_4k, file_size / page);
  measure("read-4KiB", read_4k, file_size / page);
  measure("pread-page", read_pages, 1000);
  measure("pwrite-page", write_pages, 1000);
  measure("page-transaction-fsync", transaction, 5);
  must(mkdir(sub, 0700) == 0, sub);
  for (int i = 0; i < entries; i++)
    close(open(entry(i), O_CREAT | O_WRONLY, 0600));
  measure("readdir-10000", list, 1);
  measure("stat", stat_all, entries);
  measure("open-close", open_close, 1000);
  measure("create-remove", create_remove, 1000);
  for (int i = 0; i < entries; i++)
    unlink(entry(i));
  rmdir(sub), unlink(path), unlink(path2);
}

/* Computation. */

static volatile uint32_t sink;

static void sieve(void) {
  enum { top = 1 << 20 };
  static uint8_t composite[top];
  memset(composite, 0, sizeof composite);
  uint32_t primes = 0;
  for (uint32_t i = 2; i < top; i++) {
    if (composite[i])
      continue;
    primes++;
    for (uint32_t j = 2 * i; j < top; j += i)
      composite[j] = 1;
  }
  sink = primes;
}

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t h[8], const uint32_t in[16]) {
  static uint32_t k[64];
  if (!k[0]) /* cube roots of primes, or anything as good: the work is the same */
    for (int i = 0; i < 64; i++)
      k[i] = any();
  uint32_t w[64], s[8];
  memcpy(w, in, 64);
  memcpy(s, h, 32);
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3) + (rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
  }
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = s[7] + (rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
    uint32_t t2 = (rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 28);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++)
    h[i] += s[i];
}

static void sha256(void) {
  uint32_t h[8] = {1, 2, 3, 4, 5, 6, 7, 8}, in[16] = {0};
  for (int i = 0; i < MiB / 64; i++)
    in[0] = i, sha256_block(h, in);
  sink = h[0];
}

__attribute__((noinline)) static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static volatile uint32_t thirty = 30; /* unknown to the compiler, which would call once */

static void fib30(void) { sink = fib(thirty); }

static uint32_t add(uint32_t x) { return x + 3; }
static uint32_t mul(uint32_t x) { return x * 5; }
static uint32_t xor(uint32_t x) { return x ^ 0x5bd1e995; }
static uint32_t rot(uint32_t x) { return rotr(x, 7); }

static void indirect(void) {
  static uint32_t (*const volatile table[])(uint32_t) = {add, mul, xor, rot};
  uint32_t x = 1;
  for (int i = 0; i < 1000000; i++)
    x = table[x & 3](x);
  sink = x;
}

static void matmul(void) {
  enum { n = 128 };
  static double a[n][n], b[n][n], c[n][n];
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      a[i][j] = i + j, b[i][j] = i - j;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++)
        sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
  sink = (uint32_t)c[5][7];
}

static void compute(void) {
  measure("sieve-1M", sieve, 1);
  measure("sha256-1MiB", sha256, 1);
  measure("fib-30", fib30, 1);
  measure("indirect-1M", indirect, 1);
  measure("matmul-128", matmul, 1);
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "calls"))
    calls(argv[2]);
  else if (argc == 3 && !strcmp(argv[1], "files"))
    files(argv[2]);
  else if (argc == 2 && !strcmp(argv[1], "compute"))
    compute();
  else
    return 2;
  return 0;
}
