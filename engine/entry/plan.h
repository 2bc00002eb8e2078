/* The flat message of proto/worker/v1: its layout, and a bounded walk. */
#ifndef CW_PLAN_H
#define CW_PLAN_H

#include <stddef.h>
#include <stdint.h>

enum {
	STEP_CGROUP = 1, STEP_SETNS, STEP_PROC, STEP_MASK, STEP_READONLY, STEP_OOM_SCORE,
	STEP_RLIMIT = 9, STEP_BOUNDING, STEP_GROUPS, STEP_IDS, STEP_CAPS, STEP_NO_NEW_PRIVS, STEP_SECCOMP, STEP_STDIO, STEP_FD,
	STEP_NAME, STEP_TERMINAL, STEP_TITLE, STEP_APPARMOR, STEP_SELINUX, STEP_END,
	STEP_PLAN = 100, STEP_LOAD = 101, STEP_READY = 200,
};

enum { PLAN_NO_FD = 0xffff, PLAN_MAX_FDS = 252 };

struct plan {
	const uint8_t *base;
	size_t len, payload, payload_len;
	uint32_t nfds;
	uint16_t steps;
};

struct step {
	uint16_t kind;
	int fd; /* index into the descriptors of the plan, or -1 */
	const uint8_t *data;
	uint32_t len;
};

/* Checks the header. 0, or -1 and a text. */
int plan_open(struct plan *p, const uint8_t *base, size_t len, const char **err);
/* Reads the step at *at and moves *at on. 0, or -1 and a text. */
int plan_next(const struct plan *p, size_t *at, struct step *s, const char **err);

#endif
