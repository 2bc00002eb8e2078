#include "plan.h"
#include "entry.h"

#include <stdio.h>
#include <string.h>

enum { HEADER = 24, OP_HEADER = 8, MAGIC = 0x31505743, VERSION = 1 };

static uint16_t u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }

static int bad(const char **err, const char *text)
{
	*err = text;
	return -1;
}

int plan_open(struct plan *p, const uint8_t *base, size_t len, const char **err)
{
	if (len < HEADER || u32(base) != MAGIC)
		return bad(err, "not a spawn plan");
	if (u16(base + 4) != VERSION)
		return bad(err, "spawn plan of another version: daemon and worker must be of one release");
	p->base = base;
	p->steps = u16(base + 6);
	p->len = u32(base + 8);
	p->payload = u32(base + 12);
	p->payload_len = u32(base + 16);
	p->nfds = u32(base + 20);
	if (p->len > len || p->payload < HEADER || p->payload > p->len || p->payload_len > p->len - p->payload)
		return bad(err, "spawn plan is truncated");
	if (p->nfds > PLAN_MAX_FDS)
		return bad(err, "spawn plan has too many descriptors");
	return 0;
}

/* The least and most data that each step takes. */
static const struct { uint8_t known, fd; uint32_t min, max; } shape[STEP_END] = {
	[STEP_CGROUP] = {1, 1, 0, 0}, [STEP_SETNS] = {1, 1, 4, 4}, [STEP_PROC] = {1, 0, 4, 4}, [STEP_MASK] = {1, 0, 1, 4095},
	[STEP_READONLY] = {1, 0, 1, 4095}, [STEP_OOM_SCORE] = {1, 0, 4, 4},
	[STEP_RLIMIT] = {1, 0, 20, 20}, [STEP_BOUNDING] = {1, 0, 8, 8}, [STEP_GROUPS] = {1, 0, 0, 4 * 65536}, [STEP_IDS] = {1, 0, 8, 8},
	[STEP_CAPS] = {1, 0, 24, 24}, [STEP_NO_NEW_PRIVS] = {1, 0, 0, 0}, [STEP_SECCOMP] = {1, 0, 8, 8 * 4096}, [STEP_STDIO] = {1, 1, 4, 4},
	[STEP_FD] = {1, 1, 4, 4}, [STEP_NAME] = {1, 0, 1, 15}, [STEP_TERMINAL] = {1, 0, 0, 0},
	[STEP_TITLE] = {1, 0, 1, 65536}, [STEP_APPARMOR] = {1, 0, 1, 4000},
	[STEP_SELINUX] = {1, 0, 1, 4000},
};

int plan_next(const struct plan *p, size_t *at, struct step *s, const char **err)
{
	size_t left = p->payload - *at;
	if (*at < HEADER || *at > p->payload || left < OP_HEADER)
		return bad(err, "a step is truncated");
	const uint8_t *b = p->base + *at;
	uint16_t fd = u16(b + 2);
	s->kind = u16(b);
	s->len = u32(b + 4);
	s->data = b + OP_HEADER;
	s->fd = fd == PLAN_NO_FD ? -1 : fd;
	if (s->kind >= STEP_END || !shape[s->kind].known)
		return bad(err, "unknown step: daemon and worker must be of one release");
	if (s->len < shape[s->kind].min || s->len > shape[s->kind].max)
		return bad(err, "a step has data of a wrong length");
	if ((s->fd >= 0) != shape[s->kind].fd || (s->fd >= 0 && (uint32_t)s->fd >= p->nfds))
		return bad(err, "a step has a wrong descriptor");
	size_t size = OP_HEADER + (((size_t)s->len + 7) & ~(size_t)7);
	if (size > left)
		return bad(err, "a step is truncated");
	*at += size;
	return 0;
}

int cw_check_plan(const uint8_t *base, size_t len, char *err, size_t errlen)
{
	struct plan p;
	struct step s;
	const char *text = "";
	size_t at = HEADER;
	int rc = plan_open(&p, base, len, &text);
	for (uint16_t i = 0; rc == 0 && i < p.steps; i++)
		rc = plan_next(&p, &at, &s, &text);
	if (rc)
		snprintf(err, errlen, "%s", text);
	return rc;
}
