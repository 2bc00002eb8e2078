package codecache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestPreflightSaysWhatAFileIsAndWhatToDo(t *testing.T) {
	const p1 = "wasi_snapshot_preview1"
	elf := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00\x3e\x00"
	for _, tc := range []struct {
		name, text string
		kind       RefusalKind // "" runs
		says       []string
		abi        string
	}{
		{"a program", program{imports: []string{imp(p1, "fd_write", 1)}}.String(), "", nil, p1},
		{"no imports", program{}.String(), "", nil, "none"},
		{"native", elf, NotModule, []string{"native ELF binary (x86-64), not a WebAssembly module", "containerd", "wasip1"}, ""},
		{"script", "#!/bin/sh\n", NotModule, []string{"script (#!/bin/sh)", "interpreter"}, ""},
		{"empty", "", NotModule, []string{"empty file"}, ""},
		{"text", "(module)", NotModule, []string{"wat2wasm"}, ""},
		{"webc", "\x00webc003", Unsupported, []string{"webc"}, ""},
		{"component", "\x00asm\x0d\x00\x01\x00", Unsupported, []string{"component (WASI 0.2)", "build it for wasip1"}, ComponentModel},
		{"unknown version", "\x00asm\x09\x00\x00\x00", Invalid, []string{"unknown version"}, ""},
		{"truncated", program{}.String()[:20], Invalid, []string{"malformed"}, "none"},
		{"something", "hello", NotModule, []string{"unknown kind"}, ""},
		{"unmet import", program{imports: []string{imp(p1, "fd_nothing", 1), imp(p1, "fd_write", 1)}}.String(), Imports, []string{"lacks: wasi_snapshot_preview1.fd_nothing:"}, p1},
		{"another signature", program{imports: []string{imp(p1, "fd_write", 0)}}.String(), Imports, []string{"fd_write (with another signature)"}, p1},
		{"imported memory", program{imports: []string{name("env") + name("memory") + "\x02\x00\x01"}}.String(), Imports, []string{"env.memory (a memory)"}, "unknown"},
		{"wasix", program{imports: []string{imp("wasix_32v1", "thread_spawn", 1), imp(p1, "fd_write", 1)}}.String(), Imports, []string{"WASIX program", "newer Wasmer"}, abiWASIX},
		{"wasix with threads", program{imports: []string{imp("wasix_32v1", "thread_spawn", 1)}, memory: "\x01\x03\x01\x02"}.String(), Imports, []string{"WASIX program"}, abiWASIX},
		{"component core", program{imports: []string{imp("wasi:cli/stdout@0.2.0", "get-stdout", 0)}}.String(), Imports, []string{"core of a component"}, ComponentModel},
		{"proxy-wasm", program{imports: []string{imp("env", "proxy_log", 1)}}.String(), Imports, []string{"proxy-wasm plug-in", "Envoy"}, abiProxy},
		{"emscripten", program{imports: []string{imp("env", "emscripten_memcpy_js", 1), imp(p1, "fd_write", 1)}}.String(), Imports, []string{"Emscripten", "STANDALONE_WASM"}, abiEmscripten},
		{"wasmbus", program{imports: []string{imp("wasmbus", "__host_call", 1)}}.String(), Imports, []string{"wasmCloud"}, abiWasmbus},
		{"wapc", program{imports: []string{imp("wapc", "__host_call", 1)}}.String(), Imports, []string{"waPC"}, abiWapc},
		{"go js", program{imports: []string{imp("gojs", "runtime.wasmWrite", 0)}}.String(), Imports, []string{"GOOS=wasip1"}, abiGo},
		{"bindgen", program{imports: []string{imp("wbg", "__wbindgen_throw", 0)}}.String(), Imports, []string{"wasm-bindgen"}, abiBindgen},
		{"wasmedge v1", program{types: "\x02\x60\x00\x00\x60\x02\x7f\x7f\x01\x7f", imports: []string{imp(p1, "sock_accept", 1)}}.String(), "", nil, abiWasmEdge1},
		{"sockets of preview1", program{types: "\x02\x60\x00\x00\x60\x03\x7f\x7f\x7f\x01\x7f", imports: []string{imp(p1, "sock_accept", 1)}}.String(), "", nil, p1},
		{"wasmedge v2", program{imports: []string{imp(p1, "sock_open", 1)}}.String(), Imports, []string{"sock_open"}, abiWasmEdge2},
		{"unstable", program{imports: []string{imp("wasi_unstable", "fd_write", 1)}}.String(), Imports, []string{"wasi_unstable.fd_write"}, abiUnstable},
		{"reactor", program{exports: "\x01" + name("_initialize") + "\x00\x00"}.String(), NoStart, []string{"reactor", "as a command"}, "none"},
		{"library", program{exports: "\x01" + name("add") + "\x00\x00"}.String(), NoStart, []string{"no _start"}, "none"},
		{"threads", program{memory: "\x01\x03\x01\x02"}.String(), Unsupported, []string{"threads", "wasm32-wasip1-threads"}, "none"},
		{"memory64", program{memory: "\x01\x04\x01"}.String(), Unsupported, []string{"memory64"}, "none"},
		{"two memories", program{memory: "\x02\x00\x01\x00\x01"}.String(), Unsupported, []string{"several memories"}, "none"},
		{"huge memory", program{memory: "\x01\x00" + leb(65536)}.String(), Unsupported, []string{"65536 pages"}, "none"},
		{"exceptions", program{extra: sec(13, "\x01\x00\x00")}.String(), Unsupported, []string{"exceptions"}, "none"},
		{"gc", program{types: "\x01\x5f\x00", exports: "\x00"}.String(), Unsupported, []string{"GC"}, "none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := newBench(t).open().Preflight(module(t, tc.text), "")
			if r == nil || r.ABI != tc.abi || r.Module != sum(tc.text) {
				t.Fatalf("report = %+v, %v, want ABI %q", r, err, tc.abi)
			}
			var no *Refusal
			if got := errors.As(err, &no); got != (tc.kind != "") || (got && no.Kind != tc.kind) {
				t.Fatalf("error = %v, want kind %q", err, tc.kind)
			}
			for _, s := range tc.says {
				if !strings.Contains(no.Error(), s) {
					t.Errorf("%q does not say %q", no, s)
				}
			}
		})
	}
}

func TestRefusalExplainsInOneSentence(t *testing.T) {
	_, err := newBench(t).open().Preflight(module(t, "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x03\x00\x3e\x00"), "")
	var no *Refusal
	errors.As(err, &no)
	want := "image docker.io/library/nginx:latest: entrypoint /usr/sbin/nginx is a native ELF binary (x86-64), not a WebAssembly module: run it on a node with containerd, or build it for wasip1"
	if got := no.Explain("docker.io/library/nginx:latest", "/usr/sbin/nginx"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheListOfUnmetImportsIsBounded(t *testing.T) {
	var imports []string
	for i := range 300 {
		imports = append(imports, imp("x", fmt.Sprintf("f%d%s", i, strings.Repeat("y", 500)), 0))
	}
	_, err := newBench(t).open().Preflight(module(t, program{imports: imports}.String()), "")
	if err == nil || len(err.Error()) > 4000 || !strings.Contains(err.Error(), "and 280 more") {
		t.Errorf("error of %d bytes: %v", len(fmt.Sprint(err)), err)
	}
}

func TestReportsAreBounded(t *testing.T) {
	var imports []string
	for i := range 3000 {
		imports = append(imports, imp("x", fmt.Sprintf("f%d%s", i, strings.Repeat("é", 300)), 0))
	}
	r, err := newBench(t).open().Preflight(module(t, program{imports: imports}.String()), "")
	if err == nil || r.ImportCount != 3000 || r.UnmetCount != 3000 || len(r.Imports) != 1000 || len(r.Unmet) != 1000 {
		t.Fatalf("%d imports, %d unmet, lists of %d and %d: %v", r.ImportCount, r.UnmetCount, len(r.Imports), len(r.Unmet), err)
	}
	for _, name := range []string{r.Imports[0], r.Unmet[999]} {
		if len(name) > 210 || !strings.HasSuffix(name, "é...") {
			t.Errorf("name of %d bytes: %s", len(name), name)
		}
	}
}

func TestAnEntryFunctionTakesThePlaceOfStart(t *testing.T) {
	c := newBench(t).open()
	library := program{exports: "\x02" + name("run") + "\x00\x00" + name("memory") + "\x02\x00", memory: "\x01\x00\x01"}.String()
	for _, tc := range []struct{ text, function, says string }{
		{library, "run", ""},
		{library, "", "has no _start"},
		{library, "_start", "has no _start"},
		{library, "walk", `exports no function "walk": name one that it exports behind the # of the entrypoint: "run"`},
		{library, "memory", `exports no function "memory"`},
		{program{}.String(), "_start", ""},
		{program{}.String(), "run", `exports no function "run"`},
		{"\x7fELF", "run", "native ELF binary"},
	} {
		_, err := c.Preflight(module(t, tc.text), tc.function)
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("function %q: %v, want %q", tc.function, err, tc.says)
		}
	}
	if code := mustCode(t, c, module(t, library)); code.Compiler != "cranelift" {
		t.Errorf("code of a library is by %s", code.Compiler)
	}
}
