/* The part of libwasmer's C interface that we use: the wasm-c-api
 * (github.com/WebAssembly/wasm-c-api) and Wasmer's additions, as ABI of
 * libwasmer 2.0.0. Declared here, so that this package builds without the
 * headers of another module; the library is linked by wasmer-go. */
#ifndef CW_WASMAPI_H
#define CW_WASMAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_OPAQUE(n) typedef struct n n
CW_OPAQUE(wasm_config_t);
CW_OPAQUE(wasm_engine_t);
CW_OPAQUE(wasm_store_t);
CW_OPAQUE(wasm_module_t);
CW_OPAQUE(wasm_instance_t);
CW_OPAQUE(wasm_func_t);
CW_OPAQUE(wasm_memory_t);
CW_OPAQUE(wasm_extern_t);
CW_OPAQUE(wasm_externtype_t);
CW_OPAQUE(wasm_functype_t);
CW_OPAQUE(wasm_valtype_t);
CW_OPAQUE(wasm_importtype_t);
CW_OPAQUE(wasm_exporttype_t);
CW_OPAQUE(wasm_trap_t);
CW_OPAQUE(wasm_frame_t);

#define CW_VEC(n, t) typedef struct { size_t size; t *data; } n
CW_VEC(wasm_byte_vec_t, char);
CW_VEC(wasm_valtype_vec_t, wasm_valtype_t *);
CW_VEC(wasm_importtype_vec_t, wasm_importtype_t *);
CW_VEC(wasm_exporttype_vec_t, wasm_exporttype_t *);
CW_VEC(wasm_extern_vec_t, wasm_extern_t *);
CW_VEC(wasm_frame_vec_t, wasm_frame_t *);

enum { CW_I32 = 0, CW_I64 = 1, CW_F32 = 2, CW_F64 = 3 };
enum { CW_EXTERN_FUNC = 0, CW_EXTERN_GLOBAL = 1, CW_EXTERN_TABLE = 2, CW_EXTERN_MEMORY = 3 };
enum { CW_CRANELIFT = 0, CW_LLVM = 1, CW_SINGLEPASS = 2 };
enum { CW_UNIVERSAL = 0 };

typedef struct {
	uint8_t kind;
	union { int32_t i32; int64_t i64; float f32; double f64; void *ref; } of;
} wasm_val_t;
CW_VEC(wasm_val_vec_t, wasm_val_t);

typedef wasm_trap_t *(*wasm_func_callback_with_env_t)(void *env, const wasm_val_vec_t *args, wasm_val_vec_t *results);

wasm_config_t *wasm_config_new(void);
void wasm_config_set_compiler(wasm_config_t *, int);
void wasm_config_set_engine(wasm_config_t *, int);
wasm_engine_t *wasm_engine_new_with_config(wasm_config_t *);
wasm_store_t *wasm_store_new(wasm_engine_t *);

wasm_module_t *wasm_module_new(wasm_store_t *, const wasm_byte_vec_t *);
bool wasm_module_validate(wasm_store_t *, const wasm_byte_vec_t *);
void wasm_module_serialize(const wasm_module_t *, wasm_byte_vec_t *);
wasm_module_t *wasm_module_deserialize(wasm_store_t *, const wasm_byte_vec_t *);
void wasm_module_imports(const wasm_module_t *, wasm_importtype_vec_t *);
void wasm_module_exports(const wasm_module_t *, wasm_exporttype_vec_t *);

const wasm_byte_vec_t *wasm_importtype_module(const wasm_importtype_t *);
const wasm_byte_vec_t *wasm_importtype_name(const wasm_importtype_t *);
const wasm_externtype_t *wasm_importtype_type(const wasm_importtype_t *);
const wasm_byte_vec_t *wasm_exporttype_name(const wasm_exporttype_t *);
void wasm_importtype_vec_delete(wasm_importtype_vec_t *);
void wasm_exporttype_vec_delete(wasm_exporttype_vec_t *);

uint8_t wasm_externtype_kind(const wasm_externtype_t *);
const wasm_functype_t *wasm_externtype_as_functype_const(const wasm_externtype_t *);
const wasm_valtype_vec_t *wasm_functype_params(const wasm_functype_t *);
const wasm_valtype_vec_t *wasm_functype_results(const wasm_functype_t *);
uint8_t wasm_valtype_kind(const wasm_valtype_t *);

wasm_func_t *wasm_func_new_with_env(wasm_store_t *, const wasm_functype_t *, wasm_func_callback_with_env_t, void *env, void (*finalizer)(void *));
size_t wasm_func_param_arity(const wasm_func_t *);
size_t wasm_func_result_arity(const wasm_func_t *);
wasm_trap_t *wasm_func_call(const wasm_func_t *, const wasm_val_vec_t *args, wasm_val_vec_t *results);
wasm_extern_t *wasm_func_as_extern(wasm_func_t *);

wasm_instance_t *wasm_instance_new(wasm_store_t *, const wasm_module_t *, const wasm_extern_vec_t *imports, wasm_trap_t **);
void wasm_instance_exports(const wasm_instance_t *, wasm_extern_vec_t *);
uint8_t wasm_extern_kind(const wasm_extern_t *);
wasm_func_t *wasm_extern_as_func(wasm_extern_t *);
wasm_memory_t *wasm_extern_as_memory(wasm_extern_t *);
char *wasm_memory_data(wasm_memory_t *);
size_t wasm_memory_data_size(const wasm_memory_t *);

wasm_trap_t *wasm_trap_new(wasm_store_t *, const wasm_byte_vec_t *message);
void wasm_trap_message(const wasm_trap_t *, wasm_byte_vec_t *out);
void wasm_trap_trace(const wasm_trap_t *, wasm_frame_vec_t *out);
wasm_frame_t *wasm_trap_origin(const wasm_trap_t *);
void wasm_trap_delete(wasm_trap_t *);
uint32_t wasm_frame_func_index(const wasm_frame_t *);
size_t wasm_frame_module_offset(const wasm_frame_t *);
void wasm_frame_delete(wasm_frame_t *);
void wasm_frame_vec_delete(wasm_frame_vec_t *);
void wasm_byte_vec_delete(wasm_byte_vec_t *);
void wasm_val_vec_delete(wasm_val_vec_t *);

int wasmer_last_error_length(void);
int wasmer_last_error_message(char *, int);
const char *wasmer_version(void);
bool wasmer_is_compiler_available(int);

#endif
