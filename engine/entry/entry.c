/* The constructor of the worker. It runs before the Go runtime, so that the
 * process is single-threaded: namespaces, ids and filters then hold for all of
 * it.
 *
 *	run:    load code (fd 4) -> receive plan (fd 3) -> steps -> return: Go boots
 *	zygote: load code (fd 4) -> for each request on fd 3: clone, and in the child
 *	        receive plan -> steps -> return: Go boots
 *	init:   receive plan -> steps -> status -> reap for ever: pid 1 of a pod
 */
#define _GNU_SOURCE
#include "entry.h"
#include "plan.h"
#include "share.h"
#include "steps.h"
#include "../wasmer/shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_SPAWN = 3, FD_CODE = 4, FD_HIGH = 64, STACK = 16 << 20, STACK_ABOVE = 64 << 10, CODE_PAYLOAD = 4096, STATUS_MAGIC = 0x31535743 };

static struct plan plan;
static int plan_fds[PLAN_MAX_FDS + 1];
static const uint8_t *names;
static size_t names_len;
static uint64_t import_funcs;
static uint32_t code_flags;
static char *title; /* the arguments, one behind the other */
static size_t title_room;
static char *stack_low; /* of the main thread, as seen from here: arguments and environment are above */
static size_t stack_size; /* 0: not known */

const uint8_t *cw_payload(size_t *len)
{
	*len = plan.payload_len;
	return plan.base ? plan.base + plan.payload : NULL;
}

const uint8_t *cw_names(size_t *len, uint64_t *funcs)
{
	*len = names_len;
	*funcs = import_funcs;
	return names;
}

uint32_t cw_code_flags(void) { return code_flags; }

static void send_status(uint32_t step, uint32_t index, int err, const char *text)
{
	uint32_t head[4] = { STATUS_MAGIC, step, index, (uint32_t)err };
	char msg[1024];
	size_t n = strlen(text);
	if (n > sizeof msg - sizeof head)
		n = sizeof msg - sizeof head;
	memcpy(msg, head, sizeof head);
	memcpy(msg + sizeof head, text, n);
	send(FD_SPAWN, msg, sizeof head + n, MSG_NOSIGNAL);
}

static void fail(uint32_t step, uint32_t index, int err, const char *text)
{
	send_status(step, index, err, text);
	_exit(126);
}

/* The file was verified by the daemon; here only what keeps the reads in
 * bounds. Layout: CodeHeader of proto/worker/v1. */
static void load_code(void)
{
	char err[512] = "";
	struct stat st;
	uint64_t payload, nlen;
	if (fstat(FD_CODE, &st) || st.st_size < CODE_PAYLOAD)
		fail(STEP_LOAD, 0, errno, "the code file is missing or truncated");
	uint8_t *m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CODE, 0);
	if (m == MAP_FAILED)
		fail(STEP_LOAD, 0, errno, "map the code file");
	memcpy(&payload, m + 16, 8);
	memcpy(&nlen, m + 24, 8);
	memcpy(&import_funcs, m + 32, 8);
	uint64_t room = (uint64_t)st.st_size - CODE_PAYLOAD;
	if (memcmp(m, "CWCODE\0\1", 8) || payload > room || nlen > room - payload)
		fail(STEP_LOAD, 0, 0, "the code file has a wrong header");
	names = m + CODE_PAYLOAD + payload;
	names_len = nlen;
	if (cw_load(m + CODE_PAYLOAD, payload, err, sizeof err))
		fail(STEP_LOAD, 0, 0, err);
	cw_save_signals();
	memcpy(&code_flags, m + 12, 4);
	cw_outcome out;
	if (cw_instantiate(&out, err, sizeof err))
		fail(STEP_LOAD, 0, 0, err);
	if (out.trapped)
		fail(STEP_LOAD, 0, 0, out.message);
}

/* Reads one message with its descriptors and gives their number. */
static int receive(void *data, size_t len, int *fds, int cap)
{
	char control[CMSG_SPACE(sizeof(int) * (PLAN_MAX_FDS + 1))];
	struct iovec iov = { data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t n;
	do
		n = recvmsg(FD_SPAWN, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0) /* the daemon changed its mind, or died */
		_exit(125);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (msg.msg_flags & MSG_CTRUNC || !c || c->cmsg_type != SCM_RIGHTS)
		fail(STEP_PLAN, 0, 0, "the plan came without its descriptors");
	int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	if (count > cap)
		fail(STEP_PLAN, 0, 0, "the plan came with too many descriptors");
	memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)count);
	return count;
}

/* The plan is a memfd; the descriptors of its steps move out of the way of
 * the numbers to which steps will put them. */
static void receive_plan(void)
{
	const char *err = "";
	struct stat st;
	char byte[16];
	int n = receive(byte, sizeof byte, plan_fds, PLAN_MAX_FDS + 1);
	if (n < 1 || fstat(plan_fds[0], &st))
		fail(STEP_PLAN, 0, errno, "the plan came without its message");
	void *m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, plan_fds[0], 0);
	if (m == MAP_FAILED)
		fail(STEP_PLAN, 0, errno, "map the plan");
	if (plan_open(&plan, m, (size_t)st.st_size, &err))
		fail(STEP_PLAN, 0, 0, err);
	if (plan.nfds != (uint32_t)n - 1)
		fail(STEP_PLAN, 0, 0, "the plan came with the wrong number of descriptors");
	for (int i = 0; i < n; i++) {
		int high = fcntl(plan_fds[i], F_DUPFD_CLOEXEC, FD_HIGH);
		if (high < 0)
			fail(STEP_PLAN, 0, errno, "move a descriptor");
		close(plan_fds[i]);
		plan_fds[i] = high;
	}
}

static void enter(void)
{
	struct entry e = { .fds = plan_fds + 1, .kept = 7 | 1 << FD_SPAWN, .title = title, .title_room = title_room };
	struct step s;
	const char *err = "";
	size_t at = 24;
	for (uint16_t i = 0; i < plan.steps; i++) {
		if (plan_next(&plan, &at, &s, &err))
			fail(STEP_PLAN, i, 0, err);
		if (step_run(&e, &s)) {
			char detail[256] = "";
			if (s.kind == STEP_MASK || s.kind == STEP_READONLY || s.kind == STEP_APPARMOR || s.kind == STEP_SELINUX)
				snprintf(detail, sizeof detail, "%.*s", (int)strnlen((const char *)s.data, s.len < 255 ? s.len : 255), (const char *)s.data);
			fail(s.kind, i, errno, detail);
		}
	}
	entry_close_rest(&e);
}

/* Pid 1 of a pod whose containers share a pid namespace: it lives until it is
 * killed, and reaps what is orphaned to it. */
static void serve_as_init(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	receive_plan();
	enter();
	send_status(STEP_READY, 0, 0, "");
	close(FD_SPAWN);
	for (;;) {
		siginfo_t info;
		sigwaitinfo(&all, &info);
		if (info.si_signo == SIGCHLD)
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
	}
}

/* What the daemon asks of a zygote. With it come the child's end of a socket,
 * as fd 3 of `run`, and perhaps the pid namespace (or a pidfd) to be born in. */
struct request {
	uint64_t clone_flags;
	uint32_t join_pidns, magic;
};

enum { REQUEST_MAGIC = 0x31515743 };

/* The C library keeps its thread id in memory that a raw clone copies. */
static uint64_t tid_address(void)
{
	int *address = NULL;
	return prctl(PR_GET_TID_ADDRESS, &address) == 0 ? (uint64_t)(uintptr_t)address : 0;
}

static pid_t clone_child(uint64_t flags, int *pidfd)
{
	struct clone_args args = { .flags = CLONE_PARENT | CLONE_PIDFD | flags, .pidfd = (uint64_t)(uintptr_t)pidfd };
	if ((args.child_tid = tid_address()))
		args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static void answer(pid_t pid, int err, int pidfd)
{
	uint32_t msg[4] = { STATUS_MAGIC, pid > 0 ? STEP_READY : STEP_PLAN, (uint32_t)pid, (uint32_t)err };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { msg, sizeof msg };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (pid > 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pidfd, sizeof(int));
	}
	sendmsg(FD_SPAWN, &m, MSG_NOSIGNAL);
}

/* Returns in each child, never in the zygote itself. */
static void serve_as_zygote(void)
{
	int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	for (;;) {
		struct request r;
		int fds[2], pidfd = -1, err = 0;
		int n = receive(&r, sizeof r, fds, 2); /* ends the process when the daemon is gone */
		if (r.magic != REQUEST_MAGIC || n != 1 + (r.join_pidns != 0))
			fail(STEP_PLAN, 0, EINVAL, "malformed request to a zygote");
		if (r.join_pidns && syscall(SYS_setns, fds[1], CLONE_NEWPID))
			err = errno;
		pid_t pid = err ? -1 : clone_child(r.clone_flags, &pidfd);
		if (pid == 0) {
			dup2(fds[0], FD_SPAWN);
			setsid();
			for (int i = 0; i < n; i++)
				close(fds[i]);
			close(own);
			return;
		}
		if (pid < 0 && !err)
			err = errno;
		if (r.join_pidns && syscall(SYS_setns, own, CLONE_NEWPID))
			fail(STEP_PLAN, 0, errno, "a zygote cannot return to its pid namespace");
		answer(pid, err, pidfd);
		for (int i = 0; i < n; i++)
			close(fds[i]);
		if (pidfd >= 0)
			close(pidfd);
	}
}

static void limit_stack(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_STACK, &r) == 0 && (r.rlim_max == RLIM_INFINITY || r.rlim_max >= STACK)) {
		r.rlim_cur = STACK;
		setrlimit(RLIMIT_STACK, &r);
	}
	getrlimit(RLIMIT_STACK, &r);
	size_t size = r.rlim_cur == RLIM_INFINITY ? STACK : r.rlim_cur;
	if (size > 2 * STACK_ABOVE) {
		stack_low = (char *)__builtin_frame_address(0) - size + STACK_ABOVE;
		stack_size = size - STACK_ABOVE;
	}
	cw_set_stack(__builtin_frame_address(0), size);
}

/* The Go runtime asks for the bounds of the main thread's stack at its start, for
 * which the C library reads the list of all mappings. They are known here. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
	int (*libc)(pthread_t, pthread_attr_t *);
	if (!stack_size || getpid() != (pid_t)syscall(SYS_gettid) || !pthread_equal(thread, pthread_self())) {
		*(void **)&libc = dlsym(RTLD_NEXT, "pthread_getattr_np");
		return libc ? libc(thread, attr) : ENOSYS;
	}
	int err = pthread_attr_init(attr);
	return err ? err : pthread_attr_setstack(attr, stack_low, stack_size);
}

__attribute__((constructor)) static void entry(int argc, char **argv, char **envp)
{
	(void)envp;
	const char *mode = argc > 1 ? argv[1] : "";
	int zygote = !strcmp(mode, "zygote"), init = !strcmp(mode, "init");
	if (!zygote && !init && strcmp(mode, "run"))
		return;
	int type = 0;
	socklen_t len = sizeof type;
	if (getsockopt(FD_SPAWN, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_SEQPACKET) {
		fprintf(stderr, "cri-wasmer-worker %s is started by cri-wasmer serve, not by hand\n", argv[1]);
		_exit(2);
	}
	title = argv[0];
	title_room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
	if (init)
		serve_as_init();
	limit_stack();
	mallopt(M_ARENA_MAX, 1); /* Go's threads allocate next to nothing here */
	load_code();
	if (zygote) {
		share_memory();
		serve_as_zygote();
	}
	receive_plan();
	enter();
}
