#define _GNU_SOURCE
#include "shim.h"
#include "wasmapi.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "_cgo_export.h"

static struct {
	wasm_engine_t *engine;
	wasm_store_t *store;
	wasm_module_t *module;
	wasm_instance_t *instance;
	wasm_memory_t *memory;
	cw_import *imports;
	size_t nimports;
	uintptr_t stack_low; /* below it no host call is made */
} rt;

static const int trap_signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
enum { TRAP_SIGNALS = sizeof trap_signals / sizeof *trap_signals };
static struct sigaction wasmer_actions[TRAP_SIGNALS], go_actions[TRAP_SIGNALS];
static int saved_signals;
static __thread volatile int in_guest; /* this thread runs guest code, not a host call */

static void last_error(const char *what, char *err, size_t errlen)
{
	int n = wasmer_last_error_length();
	int head = snprintf(err, errlen, "%s", what);
	if (n <= 0 || head < 0 || (size_t)head + 3 >= errlen)
		return;
	char *msg = malloc((size_t)n + 1);
	if (!msg)
		return;
	if (wasmer_last_error_message(msg, n) > 0) {
		msg[n] = 0;
		snprintf(err + head, errlen - (size_t)head, ": %s", msg);
	}
	free(msg);
}

static int open_store(int compiler, char *err, size_t errlen)
{
	if (rt.store)
		return 0;
	wasm_config_t *c = wasm_config_new();
	wasm_config_set_engine(c, CW_UNIVERSAL);
	wasm_config_set_compiler(c, compiler);
	rt.engine = wasm_engine_new_with_config(c);
	if (rt.engine)
		rt.store = wasm_store_new(rt.engine);
	if (!rt.store) {
		last_error("start libwasmer", err, errlen);
		return -1;
	}
	return 0;
}

static char *name_of(const wasm_byte_vec_t *v)
{
	char *s = malloc(v->size + 1);
	if (!s)
		abort();
	memcpy(s, v->data, v->size);
	s[v->size] = 0;
	return s;
}

static void describe_func(cw_import *im, const wasm_functype_t *ft)
{
	const wasm_valtype_vec_t *p = wasm_functype_params(ft), *r = wasm_functype_results(ft);
	im->is_func = 1;
	im->nparams = (uint32_t)p->size;
	im->nresults = (uint32_t)r->size;
	for (size_t i = 0; i < p->size && i < CW_MAX_ARGS; i++)
		im->params[i] = wasm_valtype_kind(p->data[i]);
	if (r->size)
		im->result = wasm_valtype_kind(r->data[0]);
}

static void list_imports(void)
{
	wasm_importtype_vec_t v;
	wasm_module_imports(rt.module, &v);
	rt.nimports = v.size;
	rt.imports = calloc(v.size ? v.size : 1, sizeof *rt.imports);
	if (!rt.imports)
		abort();
	for (size_t i = 0; i < v.size; i++) {
		cw_import *im = &rt.imports[i];
		const wasm_externtype_t *t = wasm_importtype_type(v.data[i]);
		im->module = name_of(wasm_importtype_module(v.data[i]));
		im->name = name_of(wasm_importtype_name(v.data[i]));
		if (wasm_externtype_kind(t) == CW_EXTERN_FUNC)
			describe_func(im, wasm_externtype_as_functype_const(t));
	}
	wasm_importtype_vec_delete(&v);
}

int cw_load(const uint8_t *code, size_t len, char *err, size_t errlen)
{
	if (open_store(CW_CRANELIFT, err, errlen))
		return -1;
	wasm_byte_vec_t b = { len, (char *)code };
	rt.module = wasm_module_deserialize(rt.store, &b);
	if (!rt.module) {
		last_error("load compiled code", err, errlen);
		return -1;
	}
	list_imports();
	return 0;
}

static wasm_trap_t *new_trap(const char *text)
{
	wasm_byte_vec_t m = { strlen(text) + 1, (char *)text };
	return wasm_trap_new(rt.store, &m);
}

static int low_stack(void)
{
	return (uintptr_t)__builtin_frame_address(0) < rt.stack_low;
}

/* Memory may have grown since the last call: base and length are read anew
 * every time. */
static wasm_trap_t *serve(size_t index, const wasm_val_vec_t *args, uint64_t *result)
{
	const cw_import *im = &rt.imports[index];
	uint64_t a[CW_MAX_ARGS];
	for (uint32_t i = 0; i < im->nparams; i++) /* the upper half of an i32 is garbage */
		a[i] = im->params[i] == CW_I32 || im->params[i] == CW_F32 ? (uint32_t)args->data[i].of.i32 : (uint64_t)args->data[i].of.i64;
	uint8_t *mem = rt.memory ? (uint8_t *)wasm_memory_data(rt.memory) : NULL;
	size_t n = rt.memory ? wasm_memory_data_size(rt.memory) : 0;
	in_guest = 0;
	int exit = cwHost((uint32_t)index, a, im->nparams, result, mem, n);
	in_guest = 1;
	return exit ? new_trap("exit") : NULL;
}

/* libwasmer 2.0.0 turns arguments and results of a host call into vectors that
 * nobody frees: free the first, and give it results that it does not own. */
static wasm_trap_t *trampoline(void *env, const wasm_val_vec_t *args, wasm_val_vec_t *results)
{
	static __thread wasm_val_t slot[1];
	size_t index = (size_t)(uintptr_t)env;
	uint64_t r = 0;
	wasm_trap_t *trap = low_stack() ? new_trap("call stack exhausted") : serve(index, args, &r);
	wasm_val_vec_delete((wasm_val_vec_t *)args);
	if (rt.imports[index].nresults) {
		wasm_val_vec_delete(results);
		slot[0].kind = rt.imports[index].result;
		slot[0].of.i64 = (int64_t)r;
		results->size = 1;
		results->data = slot;
	}
	return trap;
}

static void copy_text(char *dst, size_t cap, const wasm_byte_vec_t *v)
{
	size_t n = v->size < cap - 1 ? v->size : cap - 1;
	memcpy(dst, v->data, n);
	dst[n] = 0;
}

static void add_frame(cw_outcome *out, const wasm_frame_t *f)
{
	out->func[out->nframes] = wasm_frame_func_index(f);
	out->offset[out->nframes++] = wasm_frame_module_offset(f);
}

/* The trace of an exhausted stack has hundreds of thousands of frames: only
 * its innermost one is taken. */
static void describe_trap(wasm_trap_t *trap, cw_outcome *out)
{
	wasm_byte_vec_t m;
	out->trapped = 1;
	wasm_trap_message(trap, &m);
	copy_text(out->message, sizeof out->message, &m);
	wasm_byte_vec_delete(&m);
	wasm_frame_t *origin = wasm_trap_origin(trap);
	if (!origin) {
		wasm_trap_delete(trap);
		return;
	}
	if (strstr(out->message, "stack exhausted")) {
		add_frame(out, origin);
	} else {
		wasm_frame_vec_t v;
		wasm_trap_trace(trap, &v);
		out->depth = v.size;
		for (size_t i = 0; i < v.size && i < CW_MAX_FRAMES; i++)
			add_frame(out, v.data[i]);
		wasm_frame_vec_delete(&v);
	}
	wasm_frame_delete(origin);
	wasm_trap_delete(trap);
}

static int find_memory(void)
{
	wasm_extern_vec_t v;
	wasm_instance_exports(rt.instance, &v);
	for (size_t i = 0; i < v.size; i++) /* v is kept: the memory belongs to its extern */
		if (wasm_extern_kind(v.data[i]) == CW_EXTERN_MEMORY) {
			rt.memory = wasm_extern_as_memory(v.data[i]);
			return 0;
		}
	return 0;
}

static int supply_imports(wasm_extern_t **externs, char *err, size_t errlen)
{
	wasm_importtype_vec_t v;
	wasm_module_imports(rt.module, &v);
	for (size_t i = 0; i < rt.nimports; i++) {
		const cw_import *im = &rt.imports[i];
		if (!im->is_func || im->nparams > CW_MAX_ARGS || im->nresults > 1) {
			snprintf(err, errlen, "import %s.%s is not a function that this engine can serve", im->module, im->name);
			wasm_importtype_vec_delete(&v);
			return -1;
		}
		const wasm_functype_t *ft = wasm_externtype_as_functype_const(wasm_importtype_type(v.data[i]));
		wasm_func_t *f = wasm_func_new_with_env(rt.store, ft, trampoline, (void *)(uintptr_t)i, NULL);
		externs[i] = wasm_func_as_extern(f);
	}
	wasm_importtype_vec_delete(&v);
	return 0;
}

int cw_instantiate(cw_outcome *out, char *err, size_t errlen)
{
	wasm_trap_t *trap = NULL;
	wasm_extern_t **externs = calloc(rt.nimports ? rt.nimports : 1, sizeof *externs);
	if (!externs)
		abort();
	memset(out, 0, sizeof *out);
	if (supply_imports(externs, err, errlen))
		return -1;
	wasm_extern_vec_t imports = { rt.nimports, externs };
	in_guest = 1;
	rt.instance = wasm_instance_new(rt.store, rt.module, &imports, &trap);
	in_guest = 0;
	if (trap) {
		describe_trap(trap, out);
		return 0;
	}
	if (!rt.instance) {
		last_error("instantiate", err, errlen);
		return -1;
	}
	return find_memory();
}

static wasm_func_t *find_func(const char *name)
{
	wasm_exporttype_vec_t types;
	wasm_extern_vec_t v;
	wasm_func_t *f = NULL;
	wasm_module_exports(rt.module, &types);
	wasm_instance_exports(rt.instance, &v);
	for (size_t i = 0; i < types.size && i < v.size && !f; i++) {
		const wasm_byte_vec_t *n = wasm_exporttype_name(types.data[i]);
		if (n->size == strlen(name) && !memcmp(n->data, name, n->size) && wasm_extern_kind(v.data[i]) == CW_EXTERN_FUNC)
			f = wasm_extern_as_func(v.data[i]);
	}
	wasm_exporttype_vec_delete(&types);
	return f;
}

int cw_exports(const char *export_name)
{
	return find_func(export_name) != NULL;
}

int cw_call(const char *export_name, cw_outcome *out, char *err, size_t errlen)
{
	memset(out, 0, sizeof *out);
	wasm_func_t *f = find_func(export_name);
	if (!f || wasm_func_param_arity(f) != 0) {
		snprintf(err, errlen, "the module exports no function %s() without parameters", export_name);
		return -1;
	}
	wasm_val_t slots[CW_MAX_ARGS];
	memset(slots, 0, sizeof slots);
	size_t nresults = wasm_func_result_arity(f);
	if (nresults > CW_MAX_ARGS) {
		snprintf(err, errlen, "exported function %s has %zu results", export_name, nresults);
		return -1;
	}
	wasm_val_vec_t args = { 0, slots }, results = { nresults, slots };
	in_guest = 1;
	wasm_trap_t *trap = wasm_func_call(f, &args, &results);
	in_guest = 0;
	if (trap)
		describe_trap(trap, out);
	return 0;
}

int cw_compile(const uint8_t *wasm, size_t len, int compiler, uint8_t **out, size_t *outlen, char *err, size_t errlen)
{
	if (open_store(compiler, err, errlen))
		return -1;
	wasm_byte_vec_t b = { len, (char *)wasm }, s = { 0, NULL };
	wasm_module_t *m = wasm_module_new(rt.store, &b);
	if (!m) {
		last_error("compile", err, errlen);
		return -1;
	}
	wasm_module_serialize(m, &s);
	if (!s.size) {
		last_error("serialize", err, errlen);
		return -1;
	}
	*out = (uint8_t *)s.data;
	*outlen = s.size;
	return 0;
}

void cw_free_code(uint8_t *code, size_t len)
{
	wasm_byte_vec_t b = { len, (char *)code };
	wasm_byte_vec_delete(&b);
}

int cw_loaded(void) { return rt.module != NULL; }
int cw_instantiated(void) { return rt.instance != NULL; }
size_t cw_import_count(void) { return rt.nimports; }
const cw_import *cw_import_at(size_t i) { return &rt.imports[i]; }

void cw_set_stack(const void *top, size_t size)
{
	const size_t reserve = 256 << 10, above = 64 << 10; /* above: arguments and environment */
	rt.stack_low = size > reserve + above ? (uintptr_t)top - size + reserve + above : 0;
}

void cw_find_stack(void)
{
	pthread_attr_t attr;
	void *low;
	size_t size;
	if (pthread_getattr_np(pthread_self(), &attr))
		return;
	if (pthread_attr_getstack(&attr, &low, &size) == 0)
		cw_set_stack((char *)low + size, size);
	pthread_attr_destroy(&attr);
}

void cw_save_signals(void)
{
	for (int i = 0; i < TRAP_SIGNALS; i++)
		sigaction(trap_signals[i], NULL, &wasmer_actions[i]);
	saved_signals = 1;
}

/* A handler of libwasmer does not return from a trap: it unwinds the guest. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *actions = in_guest ? wasmer_actions : go_actions;
	for (int i = 0; i < TRAP_SIGNALS; i++)
		if (trap_signals[i] == sig)
			actions[i].sa_sigaction(sig, info, context);
}

void cw_share_signals(void)
{
	if (!saved_signals)
		return;
	for (int i = 0; i < TRAP_SIGNALS; i++) {
		struct sigaction a = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
		sigaction(trap_signals[i], NULL, &go_actions[i]);
		if (!(wasmer_actions[i].sa_flags & SA_SIGINFO) || !(go_actions[i].sa_flags & SA_SIGINFO))
			continue; /* one of the two has no handler */
		sigaction(trap_signals[i], &a, NULL);
	}
}
