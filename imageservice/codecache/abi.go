package codecache

import (
	"strings"

	"github.com/cri-wasmer/cri-wasmer/internal/wasmfile"
)

// ComponentModel is the ABI of components and of the modules that they are made
// of.
const ComponentModel = "component model"

// ABI names, as a Report gives them.
const (
	abiPreview1   = "wasi_snapshot_preview1"
	abiUnstable   = "wasi_unstable"
	abiWasmEdge1  = "wasi_snapshot_preview1 with WasmEdge sockets v1"
	abiWasmEdge2  = "wasi_snapshot_preview1 with WasmEdge sockets v2"
	abiWASIX      = "WASIX"
	abiProxy      = "proxy-wasm"
	abiEmscripten = "Emscripten"
	abiWasmbus    = "wasmbus"
	abiWapc       = "waPC"
	abiGo         = "Go js/wasm"
	abiBindgen    = "wasm-bindgen"
	abiOther      = "unknown"
)

type foreignABI struct{ what, remedy string }

// foreign says what modules of other ABIs are, and what their users can do.
var foreign = map[string]foreignABI{
	abiWASIX:       {"a WASIX program", "build it for wasip1, or run it with a newer Wasmer"},
	ComponentModel: {"the core of a component", "build it for wasip1, or run it on a node with a component runtime"},
	abiProxy:       {"a proxy-wasm plug-in", "load it into Envoy or another proxy that hosts such plug-ins"},
	abiEmscripten:  {"an Emscripten program for JavaScript", "link it with -sSTANDALONE_WASM, or build it with wasi-sdk"},
	abiWasmbus:     {"a wasmCloud actor", "run it on a wasmCloud host"},
	abiWapc:        {"a waPC guest", "run it in its waPC host, such as Kubewarden"},
	abiGo:          {"a Go program for JavaScript", "build it with GOOS=wasip1 instead of GOOS=js"},
	abiBindgen:     {"a wasm-bindgen module for JavaScript", "build it for the target wasm32-wasip1"},
}

// abiOf names the interface for which a module was built by what it imports.
func abiOf(f *wasmfile.File) string {
	best, rank := "none", 0
	take := func(abi string, r int) {
		if r > rank {
			best, rank = abi, r
		}
	}
	for _, i := range f.Imports {
		abi, r := abiOfImport(i)
		take(abi, r)
	}
	return best
}

// abiOfImport gives the ABI that one import hints at, and how much that hint
// outweighs others.
func abiOfImport(i wasmfile.Import) (string, int) {
	switch m := i.Module; {
	case strings.HasPrefix(m, "wasix_"), m == "wasix":
		return abiWASIX, 9
	case strings.HasPrefix(m, "wasi:"), strings.HasPrefix(m, "cm32p2"), m == "canon", strings.HasPrefix(m, "[export]"):
		return ComponentModel, 9
	case m == "wasmbus":
		return abiWasmbus, 9
	case m == "wapc":
		return abiWapc, 9
	case m == "gojs", m == "go" && (strings.HasPrefix(i.Name, "runtime.") || strings.HasPrefix(i.Name, "syscall/js.") || i.Name == "debug"):
		return abiGo, 9
	case m == "wbg", strings.HasPrefix(m, "__wbindgen_"):
		return abiBindgen, 9
	case m == "env" && strings.HasPrefix(i.Name, "proxy_"):
		return abiProxy, 9
	case m == "env" && isEmscripten(i.Name):
		return abiEmscripten, 8
	case m == "wasi_snapshot_preview1":
		return abiPreview(i)
	case m == "wasi_unstable":
		return abiUnstable, 2
	}
	return abiOther, 1
}

func isEmscripten(name string) bool {
	return strings.Contains(name, "emscripten") || strings.HasPrefix(name, "invoke_") || strings.HasPrefix(name, "__syscall_") ||
		strings.HasPrefix(name, "__cxa_") || name == "__assert_fail" || name == "abort" || name == "DYNAMICTOP_PTR"
}

// abiPreview tells the socket extensions of WasmEdge apart, which live in the
// module of preview1: the first version of sock_accept takes two parameters.
func abiPreview(i wasmfile.Import) (string, int) {
	switch i.Name {
	case "sock_accept":
		if len(i.Type.Params) == 2 {
			return abiWasmEdge1, 6
		}
	case "sock_accept_v2", "sock_recv_from_v2", "sock_getlocaladdr_v2":
		return abiWasmEdge2, 7
	case "sock_open", "sock_bind", "sock_listen", "sock_connect", "sock_getaddrinfo", "sock_send_to", "sock_recv_from",
		"sock_getsockopt", "sock_setsockopt", "sock_getlocaladdr", "sock_getpeeraddr":
		return abiWasmEdge2, 5
	case "thread_spawn", "thread-spawn":
		return abiOther, 4
	}
	return abiPreview1, 3
}
