/* Tries to reach a file of the host outside of the container's root.
 *
 *   escape try NAME SIZE PATH...   goes through PATHs and the ways of its own that end in
 *                                  PATH, in every way that a file can be touched; says
 *                                  "escaped: ..." where it reads a file that begins with
 *                                  NAME, or sees one of SIZE bytes
 *   escape swap DIR                swaps DIR/dir with DIR/link until it is stopped
 *   escape walk DIR NAME           reads DIR/dir/marker until it is stopped
 *
 * The last line of try is "tried N ways".
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

static const char *name;
static unsigned long long size;
static int ways;

static void escaped(const char *how, int fd, const char *path) {
  printf("escaped: %s of %s from %d\n", how, path, fd);
  fflush(stdout);
}

/* touch does to a path all that WASI can do. */
static void touch(int fd, const char *path) {
  char buf[64] = {0};
  __wasi_filestat_t st;
  __wasi_fd_t opened;
  __wasi_size_t n;
  __wasi_iovec_t in = {(uint8_t *)buf, sizeof buf - 1};
  __wasi_ciovec_t out = {(const uint8_t *)"overwritten", 11};
  char beside[4200];
  ways++;
  for (int follow = 0; follow < 2; follow++)
    if (__wasi_path_filestat_get(fd, follow, path, &st) == 0 && st.size == size)
      escaped("stat", fd, path);
  static const __wasi_oflags_t flags[] = {0, __WASI_OFLAGS_TRUNC, __WASI_OFLAGS_CREAT, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, __WASI_OFLAGS_DIRECTORY};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    if (__wasi_path_open(fd, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, flags[i], 0, 0, 0, &opened))
      continue;
    if (__wasi_fd_read(opened, &in, 1, &n) == 0 && !strncmp(buf, name, strlen(name)))
      escaped("read", fd, path);
    if (__wasi_fd_filestat_get(opened, &st) == 0 && st.size == size)
      escaped("open", fd, path);
    if (strstr(path, "marker")) /* files of the container's own must stay */
      (void)!__wasi_fd_pwrite(opened, &out, 1, 0, &n);
    (void)!__wasi_fd_close(opened);
  }
  if (!strstr(path, "marker"))
    return;
  (void)!__wasi_path_filestat_set_times(fd, 1, path, 1000000000, 1000000000, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM);
  for (int follow = 0; follow < 2; follow++) { /* it may be the container's own file */
    if (__wasi_path_link(fd, follow, path, 3, "tmp/hard") == 0 && __wasi_path_filestat_get(3, 1, "tmp/hard", &st) == 0 && st.size == size)
      escaped("link", fd, path);
    (void)!__wasi_path_unlink_file(3, "tmp/hard");
  }
  snprintf(beside, sizeof beside, "%s.new", path);
  (void)!__wasi_path_create_directory(fd, beside);
  (void)!__wasi_path_symlink("x", fd, beside);
  (void)!__wasi_path_rename(3, "tmp/own", fd, path);
  (void)!__wasi_path_unlink_file(fd, path);
  (void)!__wasi_path_remove_directory(fd, path);
}

static void touch_under(int fd, const char *prefix, const char *path) {
  char all[4200];
  snprintf(all, sizeof all, "%s%s", prefix, path);
  touch(fd, all);
}

/* magic goes through the links of a process to its root, its directory and
 * what it has open. */
static void magic(const char *process, const char *path) {
  static const char *const links[] = {"root", "cwd", "exe", "task/%s/root", "map_files"};
  char prefix[128], list[128];
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    int n = snprintf(prefix, sizeof prefix, "/proc/%s/", process);
    snprintf(prefix + n, sizeof prefix - n, links[i], process);
    touch_under(3, prefix, path);
    touch_under(3, prefix + 1, path);
  }
  snprintf(list, sizeof list, "/proc/%s/fd", process);
  DIR *d = opendir(list);
  for (struct dirent *e; d && (e = readdir(d));) {
    snprintf(prefix, sizeof prefix, "%s/%s", list, e->d_name);
    touch(3, prefix);
    touch_under(3, prefix, path);
    touch_under(3, prefix, "/../../marker");
  }
  if (d)
    closedir(d);
}

static void tries(char **paths) {
  char up[256] = "";
  for (int i = 0; i < 40; i++)
    strcat(up, "../");
  for (; *paths; paths++) {
    const char *p = *paths;
    touch(3, p);
    touch(3, p + 1);
    touch_under(3, up, p + 1);
    touch_under(3, "/", up);
    touch_under(3, "tmp/../../../..", p);
    touch_under(3, "./..//..", p);
    magic("self", p);
    magic("thread-self", p);
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));)
      if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
        magic(e->d_name, p);
    if (d)
      closedir(d);
    for (int fd = 0; fd < 1000; fd++) /* is anything else open? */
      if (fd != 3)
        touch(fd, p + 1);

    /* From a directory that is open, through links of our own, and with the
     * numbers of descriptors moved about. */
    __wasi_fd_t dir, moved;
    char target[4200];
    snprintf(target, sizeof target, "../../../../..%s", p);
    (void)!__wasi_path_symlink(target, 3, "tmp/own-link");
    (void)!__wasi_path_symlink("/", 3, "tmp/own-root");
    touch(3, "tmp/own-link");
    if (__wasi_path_open(3, 1, "tmp", __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &dir))
      continue;
    touch(dir, "own-link");
    touch(dir, p);
    touch_under(dir, up, p + 1);
    touch_under(dir, "own-root", p);
    if (__wasi_path_open(3, 1, "tmp", __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &moved) == 0 && __wasi_fd_renumber(dir, moved) == 0) {
      touch(moved, "own-link");
      touch_under(moved, up, p + 1);
      (void)!__wasi_fd_close(moved);
    }
    (void)!__wasi_path_unlink_file(3, "tmp/own-link");
    (void)!__wasi_path_unlink_file(3, "tmp/own-root");
  }
  printf("tried %d ways\n", ways);
}

/* over ends without the preopened root: what is opened from its number then
 * must not be the host's. */
static void over(char **paths) {
  __wasi_fd_t dir;
  if (__wasi_path_open(3, 1, "tmp", __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &dir) || __wasi_fd_renumber(dir, 3)) {
    printf("escaped: nothing, the preopen cannot be overwritten\n");
    return;
  }
  for (; *paths; paths++) {
    touch(3, *paths);
    touch_under(3, "..", *paths);
    touch_under(3, "../../..", *paths);
  }
}

static void swap(const char *dir) {
  char a[256], b[256], c[256];
  snprintf(a, sizeof a, "%s/dir", dir);
  snprintf(b, sizeof b, "%s/link", dir);
  snprintf(c, sizeof c, "%s/third", dir);
  puts("swapping");
  for (fflush(stdout);;) {
    rename(a, c), rename(b, a);
    rename(a, b), rename(c, a);
  }
}

static void walk(const char *dir) {
  char path[256], line[64];
  int seen = 0;
  snprintf(path, sizeof path, "%s/dir/marker", dir);
  for (;;) {
    FILE *f = fopen(path, "r");
    if (!f)
      continue;
    if (fgets(line, sizeof line, f) && !strncmp(line, name, strlen(name)))
      escaped("walk", 3, path);
    fclose(f);
    if (++seen == 2000)
      puts("walked"), fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "swap"))
    swap(argv[2]);
  if (argc == 4 && !strcmp(argv[1], "walk")) {
    name = argv[3];
    walk(argv[2]);
  }
  if (argc < 5 || strcmp(argv[1], "try"))
    return 2;
  name = argv[2];
  size = strtoull(argv[3], NULL, 10);
  fclose(fopen("/tmp/own", "w"));
  tries(argv + 4);
  over(argv + 4);
  return 0;
}
