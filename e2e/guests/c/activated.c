/* Serves on the first socket that it finds open, behind the preopened
 * directories: answers each line of a connection with "echo: LINE". With the
 * argument "block" it makes the socket block and waits in accept itself. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int conn)
{
	char line[1024];
	ssize_t n;
	while ((n = recv(conn, line, sizeof line, 0)) > 0) {
		if (send(conn, "echo: ", 6, 0) != 6 || send(conn, line, (size_t)n, 0) != n)
			break;
	}
	shutdown(conn, SHUT_RDWR);
	close(conn);
}

int main(int argc, char **argv)
{
	const char *first = getenv("LISTEN_FDS_START"), *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	if (!first || !count || !pid || atoi(count) < 1) {
		fprintf(stderr, "no socket was given\n");
		return 1;
	}
	int fd = atoi(first), block = argc > 1 && !strcmp(argv[1], "block");
	if (accept(fd, NULL, NULL) >= 0 || errno != EAGAIN) {
		fprintf(stderr, "accept without a client: %s\n", strerror(errno));
		return 1;
	}
	if (block && fcntl(fd, F_SETFL, 0)) {
		perror("fcntl");
		return 1;
	}
	printf("%s sockets for process %s, the first is %d\n", count, pid, fd);
	fflush(stdout);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (!block && poll(&p, 1, -1) < 0) {
			perror("poll");
			return 1;
		}
		int conn = accept(fd, NULL, NULL);
		if (conn >= 0)
			serve(conn);
		else if (errno != EAGAIN) {
			perror("accept");
			return 1;
		}
	}
}
