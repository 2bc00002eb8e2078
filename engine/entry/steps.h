#ifndef CW_STEPS_H
#define CW_STEPS_H

#include "plan.h"

struct entry {
	const int *fds;  /* the plan's descriptors */
	uint64_t kept;   /* bit n: descriptor n < 64 stays open */
	int closed;      /* what was not kept is closed */
	char *title; /* the memory of this process's arguments */
	size_t title_room;
};

/* Runs one step. 0, or -1 with errno. */
int step_run(struct entry *e, const struct step *s);
/* Closes every descriptor that no step kept, once. */
void entry_close_rest(struct entry *e);

#endif
