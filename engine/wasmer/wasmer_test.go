package wasmer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
)

// A process runs one module, so that each test runs itself again as a child
// which does one thing and prints what came of it.
const childEnv = "WASMER_TEST_CHILD"

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	json.NewEncoder(os.Stdout).Encode(children[name]())
}

// result is what a child tells its test.
type result struct {
	Err    string
	Trap   string
	Frames []wasmer.Frame
	Calls  int
	Args   []uint64
	Grown  int64 // bytes of resident memory
}

func (r *result) set(err error) {
	var t *wasmer.Trap
	if errors.As(err, &t) {
		r.Trap, r.Frames = t.Message, t.Frames
	} else if err != nil {
		r.Err = err.Error()
	}
}

var children = map[string]func() result{
	"trap":   func() result { return runModule(body(opUnreachable), nil) },
	"return": func() result { return runModule(body(), nil) },
	"exit":   func() result { return runModule(callHost(7), func([]byte, []uint64) (uint64, bool) { return 0, true }) },
	"panic":  func() result { return runModule(callHost(7), func([]byte, []uint64) (uint64, bool) { panic("a bug") }) },
	"args": func() result {
		return runModule(callHost(-1), func([]byte, []uint64) (uint64, bool) { return 0, false })
	},
	"overflow": func() result { return runModule(body(opCall, 2), nil) },
	"hostdeep": func() result {
		return runModule(append(callHostCode(1), opCall, 2), func([]byte, []uint64) (uint64, bool) { return 0, false })
	},
	"manycalls": manyCalls,
}

// child runs one of children in a process of its own.
func child(t *testing.T, name string) result {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child %s: %v: %s", name, err, out)
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("child %s printed %q: %v", name, out, err)
	}
	return r
}

const (
	opUnreachable = 0x00
	opCall        = 0x10
)

func body(code ...byte) []byte { return code }

// callHostCode calls the import with an i32, an i64 and drops its result.
func callHostCode(v int) []byte {
	b := append([]byte{0x41}, sleb(int64(v))...)
	b = append(b, 0x42)
	b = append(b, sleb(int64(v))...)
	return append(b, opCall, 0, 0x1a)
}

func callHost(v int) []byte { return callHostCode(v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func section(id byte, content []byte) []byte {
	return append(append([]byte{id}, uleb(len(content))...), content...)
}

func uleb(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// module has an import host.f(i32, i64) -> i32, a memory, and two functions:
// _start, with index 1, calls function 2, which holds code.
func module(code []byte) []byte {
	m := []byte("\x00asm\x01\x00\x00\x00")
	m = append(m, section(1, []byte{2, 0x60, 2, 0x7f, 0x7e, 1, 0x7f, 0x60, 0, 0})...)
	m = append(m, section(2, []byte{1, 4, 'h', 'o', 's', 't', 1, 'f', 0, 0})...)
	m = append(m, section(3, []byte{2, 1, 1})...)
	m = append(m, section(5, []byte{1, 0, 1})...)
	m = append(m, section(7, []byte("\x02\x06_start\x00\x01\x06memory\x02\x00"))...)
	first := []byte{4, 0, opCall, 2, 0x0b}
	second := append(append([]byte{0}, code...), 0x0b)
	fn := append([]byte{2}, first...)
	fn = append(append(fn, uleb(len(second))...), second...)
	return append(m, section(10, fn)...)
}

func runModule(code []byte, f wasmer.HostFunc) (r result) {
	compiled, err := wasmer.Compile(module(code), wasmer.Cranelift)
	if err == nil {
		err = wasmer.Load(compiled)
	}
	if err != nil {
		return result{Err: err.Error()}
	}
	imports := wasmer.Imports()
	if len(imports) != 1 || imports[0].Module != "host" || imports[0].Name != "f" || !bytes.Equal(imports[0].Params, []byte{0x7f, 0x7e}) || !bytes.Equal(imports[0].Results, []byte{0x7f}) {
		return result{Err: fmt.Sprintf("imports are %+v", imports)}
	}
	wasmer.Bind(0, func(mem []byte, args []uint64) (uint64, bool) {
		r.Calls++
		if r.Calls == 1 {
			r.Args = append(r.Args, args...)
			if len(mem) != 65536 {
				r.Err = fmt.Sprintf("memory has %d bytes", len(mem))
			}
		}
		return f(mem, args)
	})
	if err := wasmer.Instantiate(); err != nil {
		return result{Err: err.Error()}
	}
	r.set(wasmer.Call("_start"))
	return r
}

func TestTrapNamesWhereItHappened(t *testing.T) {
	r := child(t, "trap")
	if r.Trap != "unreachable" {
		t.Errorf("trap = %q (error %q), want unreachable", r.Trap, r.Err)
	}
	if len(r.Frames) != 2 || r.Frames[0].Func != 2 || r.Frames[1].Func != 1 {
		t.Errorf("frames = %+v, want functions 2 and 1", r.Frames)
	}
}

func TestReturnIsNoError(t *testing.T) {
	if r := child(t, "return"); r.Err != "" || r.Trap != "" {
		t.Errorf("got %+v", r)
	}
}

func TestHostFunctionEndsTheGuest(t *testing.T) {
	if r := child(t, "exit"); r.Calls != 1 || r.Trap == "" {
		t.Errorf("got %+v, want one call and an unwound guest", r)
	}
}

func TestPanicOfHostFunctionIsAnError(t *testing.T) {
	if r := child(t, "panic"); !strings.Contains(r.Err, "a bug") {
		t.Errorf("got %+v", r)
	}
}

func TestArgumentsAreZeroExtended(t *testing.T) {
	r := child(t, "args")
	if r.Err != "" || len(r.Args) != 2 || r.Args[0] != 0xffffffff || r.Args[1] != ^uint64(0) {
		t.Errorf("args = %#x (error %q), want i32 -1 without its upper half and i64 -1", r.Args, r.Err)
	}
}

func TestExhaustedStackIsATrap(t *testing.T) {
	for _, name := range []string{"overflow", "hostdeep"} {
		t.Run(name, func(t *testing.T) {
			if r := child(t, name); !strings.Contains(r.Trap, "call stack exhausted") {
				t.Errorf("trap = %q, error %q", r.Trap, r.Err)
			}
		})
	}
}

const leakCalls = 1_000_000

// manyCalls calls the host in a loop of the guest.
func manyCalls() result {
	loop := []byte{0x03, 0x40} // loop
	loop = append(loop, 0x41, 1, 0x42, 1, opCall, 0, 0x0d, 0, 0x0b)
	before := int64(0)
	n := 0
	r := runModule(loop, func([]byte, []uint64) (uint64, bool) {
		n++
		if n == 10_000 {
			before = resident()
		}
		if n == leakCalls {
			return 0, false
		}
		return 1, false
	})
	r.Grown = resident() - before
	return r
}

func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		panic(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestHostCallsDoNotLeak(t *testing.T) {
	r := child(t, "manycalls")
	if r.Err != "" || r.Trap != "" || r.Calls != leakCalls {
		t.Fatalf("got %+v", r)
	}
	if r.Grown > 8<<20 { // one leaked byte a call would be a megabyte, libwasmer's own leak 112
		t.Errorf("%d calls grew the process by %d bytes", leakCalls, r.Grown)
	}
}

func TestBadModuleIsRefused(t *testing.T) {
	for name, b := range map[string][]byte{"empty": nil, "garbage": []byte("garbage"), "truncated": module(nil)[:19]} {
		t.Run(name, func(t *testing.T) {
			if _, err := wasmer.Compile(b, wasmer.Cranelift); !errors.Is(err, wasmer.ErrCompile) {
				t.Errorf("err = %v, want ErrCompile", err)
			}
		})
	}
}
