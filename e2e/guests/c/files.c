/* Works on files as a C program does, and exits 0 only when all of it came out
 * right. Its argument is a directory that it may create. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static char root[256];

static const char *in_root(const char *name) {
  static char path[2][512];
  static int turn;
  turn = !turn;
  snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
  return path[turn];
}

static void create_and_read(void) {
  char buf[64] = {0};
  int fd = open(in_root("a.txt"), O_CREAT | O_EXCL | O_RDWR, 0644);
  CHECK(fd >= 0);
  CHECK(write(fd, "one two three", 13) == 13);
  CHECK(fsync(fd) == 0);
  CHECK(lseek(fd, 4, SEEK_SET) == 4);
  CHECK(read(fd, buf, sizeof buf) == 9 && !strcmp(buf, "two three"));
  CHECK(pwrite(fd, "TWO", 3, 4) == 3);
  CHECK(pread(fd, buf, 7, 0) == 7 && !memcmp(buf, "one TWO", 7));
  CHECK(ftruncate(fd, 7) == 0);
  struct stat st;
  CHECK(fstat(fd, &st) == 0 && st.st_size == 7 && S_ISREG(st.st_mode));
  CHECK(close(fd) == 0);
  CHECK(stat(in_root("a.txt"), &st) == 0 && st.st_size == 7);
}

static void append_and_stdio(void) {
  char line[64];
  FILE *f = fopen(in_root("a.txt"), "a");
  CHECK(f && fputs(" three\nfour\n", f) >= 0 && fclose(f) == 0);
  f = fopen(in_root("a.txt"), "r");
  CHECK(f && fgets(line, sizeof line, f) && !strcmp(line, "one TWO three\n"));
  CHECK(fgets(line, sizeof line, f) && !strcmp(line, "four\n"));
  CHECK(!fgets(line, sizeof line, f) && feof(f) && fclose(f) == 0);
}

static void names(void) {
  char target[64] = {0};
  struct stat st;
  CHECK(rename(in_root("a.txt"), in_root("b.txt")) == 0);
  CHECK(stat(in_root("a.txt"), &st) == -1 && errno == ENOENT);
  CHECK(link(in_root("b.txt"), in_root("hard")) == 0);
  CHECK(stat(in_root("hard"), &st) == 0 && st.st_nlink == 2);
  CHECK(symlink("b.txt", in_root("soft")) == 0);
  CHECK(readlink(in_root("soft"), target, sizeof target) == 5 &&
        !strcmp(target, "b.txt"));
  CHECK(lstat(in_root("soft"), &st) == 0 && S_ISLNK(st.st_mode));
  CHECK(stat(in_root("soft"), &st) == 0 && S_ISREG(st.st_mode));
  CHECK(unlink(in_root("hard")) == 0);
}

static void directories(void) {
  CHECK(mkdir(in_root("sub"), 0755) == 0);
  CHECK(mkdir(in_root("sub"), 0755) == -1 && errno == EEXIST);
  CHECK(rmdir(in_root("b.txt")) == -1 && errno == ENOTDIR);
  DIR *d = opendir(root);
  CHECK(d);
  int seen = 0, unknown = 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (!strcmp(e->d_name, "b.txt"))
      seen |= 1;
    else if (!strcmp(e->d_name, "soft"))
      seen |= 2;
    else if (!strcmp(e->d_name, "sub"))
      seen |= 4;
    else if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
      unknown++;
  }
  CHECK(closedir(d) == 0 && seen == 7 && unknown == 0);
}

/* The root of the container has no parent. */
static void no_escape(void) {
  struct stat a, b;
  CHECK(stat("/", &a) == 0);
  CHECK(open("/../../../../../../etc/shadow-of-the-host", O_RDONLY) == -1);
  CHECK(symlink("../../../../../../../..", in_root("up")) == 0);
  errno = 0;
  if (stat(in_root("up"), &b) == 0)
    CHECK(b.st_ino == a.st_ino && b.st_dev == a.st_dev);
  CHECK(unlink(in_root("up")) == 0);
}

static void remove_all(void) {
  struct stat st;
  CHECK(rmdir(root) == -1 && errno == ENOTEMPTY);
  CHECK(rmdir(in_root("sub")) == 0);
  CHECK(unlink(in_root("soft")) == 0);
  CHECK(unlink(in_root("b.txt")) == 0);
  CHECK(rmdir(root) == 0);
  CHECK(stat(root, &st) == -1 && errno == ENOENT);
}

int main(int argc, char **argv) {
  snprintf(root, sizeof root, "%s", argc > 1 ? argv[1] : "/files-c");
  CHECK(mkdir(root, 0755) == 0 || errno == EEXIST);
  create_and_read();
  append_and_stdio();
  names();
  directories();
  no_escape();
  remove_all();
  printf("files: ok %d checks\n", checks);
  return 0;
}
