/* Measures SQLite on a file, and prints a line "NAME NANOSECONDS" for each
 * thing.
 *
 *   sqlite FILE    which is made, and must not be there
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sqlite3-binding.h"

enum { rows = 5000 };
static sqlite3 *db;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void must(int ok, const char *what) {
  if (!ok) {
    fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
  }
}

/* measure executes a statement so many times, and prints the time of one of
 * the `each` things that it does. */
static void measure(const char *name, const char *sql, int count, int each) {
  sqlite3_stmt *s;
  must(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK, name);
  double start = now();
  for (int i = 0; i < count; i++) {
    int r;
    while ((r = sqlite3_step(s)) == SQLITE_ROW)
      ;
    must(r == SQLITE_DONE, name);
    sqlite3_reset(s);
  }
  printf("%s %.1f\n", name, (now() - start) / count / each);
  sqlite3_finalize(s);
}

int main(int argc, char **argv) {
  must(argc == 2 && sqlite3_open(argv[1], &db) == SQLITE_OK, "open");
  must(sqlite3_exec(db, "PRAGMA cache_size = 32", NULL, NULL, NULL) == SQLITE_OK, "cache"); /* pages: most come from the file */
  must(sqlite3_exec(db, "CREATE TABLE t (k INTEGER PRIMARY KEY, n INTEGER, v BLOB)", NULL, NULL, NULL) == SQLITE_OK, "create");
  measure("bulk-insert-row",
          "INSERT INTO t (n, v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < 5000) "
          "SELECT abs(random()) % 100000, randomblob(400) FROM c",
          4, rows);
  measure("insert-transaction", "INSERT INTO t (n, v) VALUES (1, randomblob(400))", 50, 1);
  measure("update-transaction", "UPDATE t SET n = n + 1 WHERE k = abs(random()) % 20000", 50, 1);
  measure("create-index", "CREATE INDEX i ON t (n)", 1, 1);
  measure("select-by-key", "SELECT v FROM t WHERE k = abs(random()) % 20000", 10000, 1);
  measure("scan", "SELECT sum(length(v)) FROM t", 20, 1);
  sqlite3_close(db);
  remove(argv[1]);
  return 0;
}
