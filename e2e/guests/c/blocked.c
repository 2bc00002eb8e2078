/* blocked KIND: prints "waiting" and then waits for ever in a call of this kind.
 * Descriptor 4 is a TCP listener at 127.0.0.1:7 with room for one connection
 * that nobody accepts; /fifo/f is a fifo; name servers do not answer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
struct addr {
	uint8_t *buf;
	uint32_t size;
};
WASI("sock_open") uint32_t sock_open(uint32_t family, uint32_t type, uint32_t *fd);
WASI("sock_connect") uint32_t sock_connect(uint32_t fd, struct addr *addr, uint32_t port);
WASI("sock_getaddrinfo")
uint32_t sock_getaddrinfo(const char *node, uint32_t node_len, const char *service, uint32_t service_len, const void *hint,
                          void *results, uint32_t max, uint32_t *count);

enum { INET4 = 1, STREAM = 2, LISTENER = 4 };

static int connect_loopback(void)
{
	uint8_t ip[4] = { 127, 0, 0, 1 };
	struct addr a = { ip, sizeof ip };
	uint32_t fd, err;
	if ((err = sock_open(INET4, STREAM, &fd)) || (err = sock_connect(fd, &a, 7))) {
		fprintf(stderr, "connect: errno %u\n", err);
		return -1;
	}
	return (int)fd;
}

static int wait_in(const char *kind)
{
	static char buf[1 << 16];
	struct timespec hour = { 3600, 0 };
	if (!strcmp(kind, "sleep"))
		return nanosleep(&hour, NULL);
	if (!strcmp(kind, "poll")) {
		struct pollfd p = { .fd = open("/fifo/f", O_RDWR | O_NONBLOCK), .events = POLLIN };
		return poll(&p, 1, -1);
	}
	if (!strcmp(kind, "stdin"))
		return (int)read(0, buf, sizeof buf);
	if (!strcmp(kind, "fifo-open"))
		return open("/fifo/f", O_RDONLY);
	if (!strcmp(kind, "fifo-read"))
		return (int)read(open("/fifo/f", O_RDWR), buf, sizeof buf);
	if (!strcmp(kind, "fifo-write"))
		for (int fd = open("/fifo/f", O_RDWR);;)
			if (write(fd, buf, sizeof buf) < 0)
				return -1;
	if (!strcmp(kind, "accept")) {
		fcntl(LISTENER, F_SETFL, 0);
		return accept(LISTENER, NULL, NULL);
	}
	if (!strcmp(kind, "recv"))
		return (int)recv(connect_loopback(), buf, sizeof buf, 0);
	if (!strcmp(kind, "connect"))
		for (;;)
			if (connect_loopback() < 0)
				return -1;
	if (!strcmp(kind, "getaddrinfo")) {
		uint32_t hint[7] = { 0 }, results = 0, count = 0;
		return (int)sock_getaddrinfo("name.example.", 13, "80", 2, hint, &results, 1, &count);
	}
	fprintf(stderr, "no such kind: %s\n", kind);
	return -1;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	puts("waiting");
	fflush(stdout);
	int result = wait_in(argv[1]);
	fprintf(stderr, "%s ended with %d: %s\n", argv[1], result, strerror(errno));
	return 1;
}
