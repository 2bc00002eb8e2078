/* A fork copies the page tables of memory that a process has written to, and
 * its end walks them: for a module of some megabytes that is most of what a
 * clone of a zygote costs. Memory that is mapped from a file is not copied; a
 * clone fetches what it touches. So a zygote moves what it has made ready into
 * a file in memory, which it maps in the same place. */
#define _GNU_SOURCE
#include "share.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	LEAST = 64 << 10, /* bytes: what is shorter is not worth a mapping */
	MOST = 4 << 20,   /* what is there twice for a moment */
	SMALLEST_PAGE = 4096,
};

static size_t page;

struct area {
	uint8_t *from, *to;
	int prot;
};

/* The areas of a process, as /proc/self/maps shows them. */
struct maps {
	int fd;
	size_t at, len;
	char buf[4096];
};

/* One line, without its end; NULL behind the last one. */
static char *next_line(struct maps *m)
{
	for (;;) {
		char *line = m->buf + m->at, *end = memchr(line, '\n', m->len - m->at);
		if (end) {
			*end = 0;
			m->at = (size_t)(end + 1 - m->buf);
			return line;
		}
		m->len -= m->at;
		memmove(m->buf, line, m->len);
		m->at = 0;
		ssize_t n = m->len < sizeof m->buf ? read(m->fd, m->buf + m->len, sizeof m->buf - m->len) : 0;
		if (n <= 0)
			return NULL;
		m->len += (size_t)n;
	}
}

/* Reads "from-to rwxp offset device inode name". 1 for memory without a file
 * that can be read: what was allocated, and the code of the module. */
static int parse(char *line, struct area *a)
{
	char *p;
	a->from = (uint8_t *)strtoull(line, &p, 16);
	if (*p++ != '-')
		return 0;
	a->to = (uint8_t *)strtoull(p, &p, 16);
	const char *rights = p + 1;
	if (strnlen(rights, 5) < 5 || rights[0] != 'r' || rights[3] != 'p')
		return 0;
	a->prot = PROT_READ | (rights[1] == 'w' ? PROT_WRITE : 0) | (rights[2] == 'x' ? PROT_EXEC : 0);
	strtoull(rights + 4, &p, 16); /* offset */
	strtoull(p, &p, 16);          /* device: major, */
	strtoull(p + 1, &p, 16);      /* minor */
	if (strtoull(p, &p, 10))
		return 0;
	p += strspn(p, " ");
	return !*p || !strcmp(p, "[heap]") || !strncmp(p, "[anon:", 6);
}

/* Where the run of pages ends that are all there, or all not there. */
static uint8_t *run(const struct area *a, uint8_t *from, int *there)
{
	unsigned char resident[MOST / SMALLEST_PAGE];
	size_t len = (size_t)(a->to - from) < MOST ? (size_t)(a->to - from) : MOST, n = 1;
	if (mincore(from, len, resident)) {
		*there = 0;
		return a->to;
	}
	*there = resident[0] & 1;
	while (n < len / page && (resident[n] & 1) == *there)
		n++;
	return from + n * page;
}

/* Maps the file, at its end, in the place of what is there. */
static void move(int fd, off_t *size, uint8_t *from, size_t len, int prot)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, from + done, len - done, *size + (off_t)done);
		if (n <= 0)
			return; /* what is written is written again */
		done += (size_t)n;
	}
	if (mmap(from, len, prot, MAP_PRIVATE | MAP_FIXED, fd, *size) != MAP_FAILED)
		*size += (off_t)len;
}

static void share_area(int fd, off_t *size, const struct area *a)
{
	int there;
	for (uint8_t *from = a->from, *to; from < a->to; from = to) {
		to = run(a, from, &there);
		if (there && to - from >= LEAST)
			move(fd, size, from, (size_t)(to - from), a->prot);
	}
}

/* The list is read to its end before anything changes in it. */
static size_t list_areas(struct area *all, size_t cap)
{
	static struct maps m;
	char *line;
	size_t n = 0;
	m.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (m.fd < 0)
		return 0;
	while (n < cap && (line = next_line(&m)))
		n += (size_t)parse(line, &all[n]);
	close(m.fd);
	return n;
}

/* Free pieces lie all over the heap, and each that a clone uses costs it a page
 * of its own. Takes them all, so that clones allocate side by side at the end of
 * the heap. */
static void use_up_heap(void)
{
	malloc_trim(0);
	uint8_t *end = (uint8_t *)sbrk(0) - 2 * page, *p;
	int most = 1 << 18;
	for (size_t size = 64 << 10; size >= 16; size -= size > 1024 ? 64 : 16) {
		do
			p = malloc(size);
		while (p && p < end && most-- > 0);
		if (size > 1024)
			free(p); /* and is one with the rest again */
	}
}

void share_memory(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	use_up_heap();
	static struct area all[1024];
	off_t size = 0;
	int fd = memfd_create("module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return;
	size_t n = list_areas(all, sizeof all / sizeof *all);
	for (size_t i = 0; i < n; i++)
		share_area(fd, &size, &all[i]);
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	close(fd);
}
