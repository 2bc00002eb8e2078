/* The steps of a plan, as raw system calls: the process is single-threaded,
 * and glibc's wrappers would broadcast to threads or read files that are gone. */
#define _GNU_SOURCE
#include "entry.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

/* A path or name in a step ends with it, or with a NUL of its own, behind which
 * there is another text, which may be empty. */
static const char *text(const struct step *s, char *buf, size_t cap)
{
	size_t n = s->len < cap - 2 ? s->len : cap - 2;
	memcpy(buf, s->data, n);
	buf[n] = buf[n + 1] = 0;
	return buf;
}

/* The root of a mount namespace is not yet the working directory. */
static int enter_ns(int fd, uint32_t flags)
{
	if (syscall(SYS_setns, fd, flags))
		return -1;
	return flags & CLONE_NEWNS ? chdir("/") : 0;
}

static int mount_proc(uint32_t flags)
{
	return mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | flags, NULL);
}

static int mask(const char *path, const char *options)
{
	struct stat st;
	if (stat(path, &st)) /* /proc/net is a link */
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	if (S_ISDIR(st.st_mode))
		return mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options);
	return mount("/dev/null", path, NULL, MS_BIND, NULL);
}

static int make_readonly(const char *path)
{
	struct statfs fs;
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL))
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	if (statfs(path, &fs))
		return -1;
	return mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | (fs.f_flags & (MS_NOSUID | MS_NODEV | MS_NOEXEC)), NULL);
}

static int write_file(const char *path, const char *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, data, len);
	int saved = errno;
	close(fd);
	errno = n < 0 ? saved : EIO;
	return n == (ssize_t)len ? 0 : -1;
}

/* Without CAP_SYS_RESOURCE the score can only rise: what is refused is left. */
static int oom_score(int32_t score)
{
	char buf[16];
	int n = snprintf(buf, sizeof buf, "%d", score);
	if (write_file("/proc/self/oom_score_adj", buf, (size_t)n) == 0 || errno == EACCES || errno == EPERM || errno == ENOENT)
		return 0;
	return -1;
}

static int bounding(uint64_t keep)
{
	for (int cap = 0; cap < 64; cap++) {
		int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
		if (held < 0)
			break;
		if (held && !(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return -1;
	}
	return 0;
}

static int set_ids(uint32_t uid, uint32_t gid)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || syscall(SYS_setresgid, gid, gid, gid) || syscall(SYS_setresuid, uid, uid, uid))
		return -1;
	return 0;
}

static int set_caps(uint64_t permitted, uint64_t inheritable, uint64_t ambient)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];
	for (int i = 0; i < 2; i++) {
		d[i].effective = d[i].permitted = (uint32_t)(permitted >> (32 * i));
		d[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &h, d))
		return -1;
	for (int cap = 0; cap < 64; cap++)
		if (ambient >> cap & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0))
			return -1;
	return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
}

static struct rlimit open_files; /* as the plan has them; none: zero */

static int set_rlimit(const uint8_t *d)
{
	struct rlimit r = { u64(d + 4), u64(d + 12) };
	if (u32(d) == RLIMIT_NOFILE)
		open_files = r;
	return (int)syscall(SYS_prlimit64, 0, u32(d), &r, NULL);
}

int cw_limit_open_files(void)
{
	return open_files.rlim_max && syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &open_files, NULL) ? errno : 0;
}

static int set_groups(const struct step *s)
{
	return (int)syscall(SYS_setgroups, (size_t)s->len / 4, s->data);
}

/* The filter need not let anything be closed: that comes first. */
static int seccomp_filter(struct entry *e, const struct step *s)
{
	struct sock_filter *insns = malloc(s->len);
	if (!insns)
		return -1;
	memcpy(insns, s->data, s->len);
	struct sock_fprog prog = { (unsigned short)(s->len / sizeof *insns), insns };
	entry_close_rest(e);
	int rc = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
	free(insns);
	return rc;
}

static int keep_fd(struct entry *e, int fd, uint32_t target)
{
	if (target >= 64) {
		errno = EBADF;
		return -1;
	}
	e->kept |= 1ULL << target;
	return dup2(fd, (int)target) < 0 ? -1 : 0;
}

/* Where the kernel says that the memory of this process is. */
static int memory_map(struct prctl_mm_map *m)
{
	char buf[2048], *p;
	uint64_t v[52];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf - 1);
	close(fd);
	if (n <= 0)
		return -1;
	buf[n] = 0;
	if (!(p = strrchr(buf, ')')) || p + 4 > buf + n)
		return -1;
	p += 3; /* the state, which is the third value, is a letter */
	for (int i = 4; i < 52; i++)
		v[i] = strtoull(p, &p, 10);
	*m = (struct prctl_mm_map){
		.start_code = v[26], .end_code = v[27], .start_stack = v[28], .start_data = v[45], .end_data = v[46],
		.start_brk = v[47], .brk = (uint64_t)syscall(SYS_brk, 0), .arg_start = v[48], .arg_end = v[49],
		.env_start = v[50], .env_end = v[51], .exe_fd = (uint32_t)-1,
	};
	return 0;
}

/* The kernel shows the memory in which it put the arguments, which stays as long as
 * it was, unless it is told that they are elsewhere. It is, where it listens: it is
 * built with CONFIG_CHECKPOINT_RESTORE. */
static int set_title(const struct entry *e, const struct step *s)
{
	struct prctl_mm_map map;
	size_t n = s->len < e->title_room ? s->len : e->title_room;
	if (!n)
		return 0;
	memset(e->title, 0, e->title_room);
	memcpy(e->title, s->data, n);
	e->title[n - 1] = 0;
	char *all = e->title;
	if (n < s->len) { /* the heap may be that of a zygote, a file, of which the kernel shows nothing */
		all = mmap(NULL, s->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (all == MAP_FAILED)
			return 0;
		memcpy(all, s->data, s->len);
		all[s->len - 1] = 0;
	}
	if (memory_map(&map))
		return 0;
	map.arg_start = (uint64_t)(uintptr_t)all;
	map.arg_end = map.arg_start + s->len;
	prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
	return 0;
}

/* Without an execve, at which a profile is usually entered. A kernel that has
 * other security modules as well has a directory for each. */
static int apparmor(const char *profile)
{
	char command[4096];
	int n = snprintf(command, sizeof command, "changeprofile %s", profile);
	if (write_file("/proc/self/attr/apparmor/current", command, (size_t)n) == 0)
		return 0;
	return errno == ENOENT ? write_file("/proc/self/attr/current", command, (size_t)n) : -1;
}

void entry_close_rest(struct entry *e)
{
	unsigned from = 0;
	if (e->closed)
		return;
	e->closed = 1;
	for (unsigned fd = 0; fd < 64; fd++) {
		if (!(e->kept >> fd & 1))
			continue;
		if (from < fd)
			syscall(SYS_close_range, from, fd - 1, 0u);
		from = fd + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0u);
}

int step_run(struct entry *e, const struct step *s)
{
	char buf[4096];
	int fd = s->fd >= 0 ? e->fds[s->fd] : -1;
	switch (s->kind) {
	case STEP_CGROUP: return write(fd, "0", 1) == 1 ? 0 : -1;
	case STEP_SETNS: return enter_ns(fd, u32(s->data));
	case STEP_PROC: return mount_proc(u32(s->data));
	case STEP_MASK: text(s, buf, sizeof buf); return mask(buf, buf + strlen(buf) + 1);
	case STEP_READONLY: return make_readonly(text(s, buf, sizeof buf));
	case STEP_OOM_SCORE: return oom_score((int32_t)u32(s->data));
	case STEP_RLIMIT: return set_rlimit(s->data);
	case STEP_BOUNDING: return bounding(u64(s->data));
	case STEP_GROUPS: return set_groups(s);
	case STEP_IDS: return set_ids(u32(s->data), u32(s->data + 4));
	case STEP_CAPS: return set_caps(u64(s->data), u64(s->data + 8), u64(s->data + 16));
	case STEP_NO_NEW_PRIVS: return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	case STEP_SECCOMP: return seccomp_filter(e, s);
	case STEP_STDIO:
	case STEP_FD: return keep_fd(e, fd, u32(s->data));
	case STEP_TERMINAL: return ioctl(0, TIOCSCTTY, 0);
	case STEP_TITLE: return set_title(e, s);
	case STEP_APPARMOR: return apparmor(text(s, buf, sizeof buf));
	case STEP_SELINUX: return write_file("/proc/self/attr/current", (const char *)s->data, s->len);
	case STEP_NAME: return prctl(PR_SET_NAME, text(s, buf, 17), 0, 0, 0);
	}
	errno = ENOSYS;
	return -1;
}
