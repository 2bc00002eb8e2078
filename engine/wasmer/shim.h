/* One WebAssembly instance per process, on libwasmer. Nothing here needs the
 * Go runtime until a guest calls a host function, so that a constructor can
 * load and instantiate before Go starts. */
#ifndef CW_SHIM_H
#define CW_SHIM_H

#include <stddef.h>
#include <stdint.h>

enum { CW_MAX_ARGS = 16, CW_MAX_FRAMES = 32 };

typedef struct {
	char *module, *name; /* NUL-terminated; a NUL inside cuts it, and then nothing matches */
	int is_func;
	uint32_t nparams, nresults;
	uint8_t params[CW_MAX_ARGS]; /* CW_I32 ... of the first CW_MAX_ARGS */
	uint8_t result;
} cw_import;

typedef struct {
	int trapped;
	char message[256];
	uint32_t nframes; /* innermost first */
	uint32_t func[CW_MAX_FRAMES];
	uint64_t offset[CW_MAX_FRAMES];
	uint64_t depth; /* frames on the stack; 0 when not counted */
} cw_outcome;

/* Each gives 0, or -1 with a text in err. */
int cw_load(const uint8_t *code, size_t len, char *err, size_t errlen);
int cw_instantiate(cw_outcome *out, char *err, size_t errlen);
int cw_exports(const char *export_name);
int cw_call(const char *export_name, cw_outcome *out, char *err, size_t errlen);
int cw_compile(const uint8_t *wasm, size_t len, int compiler, uint8_t **out, size_t *outlen, char *err, size_t errlen);
void cw_free_code(uint8_t *code, size_t len);

/* Which extensions of the processor there are, in at most CW_CPU_WORDS words of
 * no further meaning; gives their number. */
enum { CW_CPU_WORDS = 8 };
size_t cw_cpu_features(uint32_t *words);

int cw_loaded(void);
int cw_instantiated(void);
size_t cw_import_count(void);
const cw_import *cw_import_at(size_t i);

/* The stack of the thread that calls the guest: top is an address near its
 * start, size how far it can grow. */
void cw_set_stack(const void *top, size_t size);
/* The same for the calling thread, found out. */
void cw_find_stack(void);

/* Traps are signals. When libwasmer starts before Go, as in a constructor, Go
 * takes its handlers' place: it keeps SIGILL to itself, so that `unreachable`
 * kills the process, and hands on SIGSEGV through frames that cannot be
 * unwound, so that a trap does not know where it happened. Save libwasmer's
 * handlers before Go starts, and let them serve, once Go runs, what happens in
 * a guest. */
void cw_save_signals(void);
void cw_share_signals(void);

#endif
