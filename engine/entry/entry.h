/* How a worker becomes a container, before the Go runtime starts. */
#ifndef CW_ENTRY_H
#define CW_ENTRY_H

#include <stddef.h>
#include <stdint.h>

/* What the Go side finds after the constructor. */
/* Notes the first of these signals and makes the eventfd readable; an errno. */
int cw_watch_signals(int eventfd, const int *signals, int count);
int cw_caught_signal(void);

const uint8_t *cw_payload(size_t *len); /* NULL: this process was given no plan */
const uint8_t *cw_names(size_t *len, uint64_t *import_funcs);

uint32_t cw_code_flags(void);

/* Sets the plan's limit of open files once more; an errno. */
int cw_limit_open_files(void);

/* Checks a plan without running it: 0, or -1 and a text. */
int cw_check_plan(const uint8_t *plan, size_t len, char *err, size_t errlen);

#endif
