package codecache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// The test binary is its own fake worker: WorkerEnv says how it behaves.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "probe":
			fakeProbe()
			return
		case "compile":
			fakeCompile()
			return
		}
	}
	os.Exit(m.Run())
}

func fakeInfo() *workerv1.Info {
	i := &workerv1.Info{Protocol: workerv1.Version, Engine: "fake", Version: "1", Compilers: []string{"cranelift", "singlepass"}, CPU: os.Getenv("FAKE_CPU")}
	i.Imports = []workerv1.Import{
		{Module: "wasi_snapshot_preview1", Name: "fd_write", Params: "7f7f7f7f", Results: "7f"},
		{Module: "wasi_snapshot_preview1", Name: "sock_accept", Params: "7f7f7f", Results: "7f"},
		{Module: "wasi_snapshot_preview1", Name: "sock_accept", Params: "7f7f", Results: "7f"},
	}
	return i
}

func fakeProbe() {
	switch os.Getenv("FAKE") {
	case "probe-garbage":
		fmt.Println("hello")
	case "probe-protocol":
		fmt.Println(`{"protocol":99,"compilers":["cranelift"]}`)
	case "probe-fails":
		fmt.Fprintln(os.Stderr, "libwasmer.so is missing")
		os.Exit(3)
	default:
		json.NewEncoder(os.Stdout).Encode(fakeInfo())
	}
}

// fakeCompile notes its run in a file, and then does what FAKE says.
func fakeCompile() {
	io.Copy(io.Discard, os.Stdin) // the sign to begin
	compiler := os.Args[3]
	if p := os.Getenv("FAKE_RUNS"); p != "" {
		f, _ := os.OpenFile(p, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		nice, _ := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
		fmt.Fprintf(f, "%s limit=%s nice=%d\n", compiler, os.Args[5], 20-nice)
		f.Close()
	}
	fail := func(kind, text string) {
		json.NewEncoder(os.Stdout).Encode(workerv1.CompileError{Kind: kind, Text: text})
		os.Exit(1)
	}
	mode := os.Getenv("FAKE")
	only := os.Getenv("FAKE_GATED")
	if gate := os.Getenv("FAKE_GATE"); gate != "" && (only == "" || only == compiler) {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(gate); err == nil {
				break
			}
		}
	}
	switch {
	case mode == "crash": // as the Go runtime of a worker reports one
		fmt.Fprintln(os.Stderr, "SIGSEGV: segmentation violation\n"+strings.Repeat("goroutine 1\n", 1000))
		os.Exit(2)
	case mode == "signal":
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		time.Sleep(time.Minute)
	case mode == "killed":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	case mode == "hang":
		time.Sleep(time.Minute)
	case mode == "no-singlepass" && compiler == "singlepass":
		fail("unsupported", "SIMD")
	case strings.HasPrefix(mode, "kind-"):
		fail(strings.TrimPrefix(mode, "kind-"), "the reason")
	case mode == "exit":
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(7)
	}
	module, err := io.ReadAll(os.NewFile(3, "module"))
	if err != nil {
		fail("internal", err.Error())
	}
	info := fakeInfo()
	payload := []byte("code by " + compiler + " of " + fmt.Sprintf("%x", sha256.Sum256(module)))
	h := workerv1.CodeHeader{Module: sha256.Sum256(module), Engine: info.Key(compiler), ModuleSize: uint64(len(module)), CompileTime: 5}
	data := append(h.Encode(payload, nil), payload...)
	if mode == "truncates" {
		data = data[:len(data)-3]
	}
	if _, err := os.NewFile(4, "out").Write(data); err != nil {
		fail("internal", err.Error())
	}
}

// bench is a cache with the fake worker.
type bench struct {
	t     *testing.T
	cfg   Config
	runs  string
	cache *Cache
	log   bytes.Buffer
	logMu sync.Mutex
}

func (b *bench) Write(p []byte) (int, error) {
	b.logMu.Lock()
	defer b.logMu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged() string {
	b.logMu.Lock()
	defer b.logMu.Unlock()
	return b.log.String()
}

func newBench(t *testing.T, env ...string) *bench {
	t.Helper()
	b := &bench{t: t, runs: filepath.Join(t.TempDir(), "runs")}
	b.cfg = Config{
		Dir: t.TempDir(), Worker: os.Args[0], WorkerEnv: append([]string{"FAKE_RUNS=" + b.runs, "GORACE=atexit_sleep_ms=0"}, env...), FastTier: -1,
		Logger: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return b
}

func (b *bench) open() *Cache {
	b.t.Helper()
	c, err := Open(context.Background(), b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cache = c
	b.t.Cleanup(func() { c.Close() })
	return c
}

// compiled lists the runs of the compiler so far.
func (b *bench) compiled() []string {
	data, _ := os.ReadFile(b.runs)
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[:strings.Count(string(data), "\n")]
}

func (b *bench) files(class string) []string {
	entries, err := os.ReadDir(filepath.Join(b.cfg.Dir, class))
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func sec(id byte, body string) string { return string(rune(id)) + leb(len(body)) + body }

func leb(n int) string {
	var b []byte
	for {
		c := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return string(append(b, c))
		}
		b = append(b, c|0x80)
	}
}

func name(s string) string { return leb(len(s)) + s }

// program is a module that imports what it is told and exports _start.
type program struct {
	imports []string // already encoded: names, kind and type
	types   string
	memory  string
	exports string
	extra   string
	tail    string
}

func (p program) String() string {
	if p.types == "" {
		p.types = "\x02\x60\x00\x00\x60\x04\x7f\x7f\x7f\x7f\x01\x7f"
	}
	if p.exports == "" {
		p.exports = "\x01" + name("_start") + "\x00\x00"
	}
	m := "\x00asm\x01\x00\x00\x00" + sec(1, p.types)
	if len(p.imports) > 0 {
		m += sec(2, leb(len(p.imports))+strings.Join(p.imports, ""))
	}
	m += sec(3, "\x01\x00")
	if p.memory != "" {
		m += sec(5, p.memory)
	}
	return m + p.extra + sec(7, p.exports) + sec(10, "\x01\x02\x00\x0b") + sec(0, name("tail")+p.tail)
}

func imp(module, fn string, typ int) string { return name(module) + name(fn) + "\x00" + leb(typ) }

// module writes a file that has settled.
func module(t *testing.T, text string) *os.File {
	t.Helper()
	p := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func sum(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

func read(t *testing.T, c *Code) string {
	t.Helper()
	data, err := io.ReadAll(c.File)
	if err != nil || len(data) < workerv1.CodePayload {
		t.Fatalf("code of %d bytes, %v", len(data), err)
	}
	return string(data[workerv1.CodePayload:])
}

func mustCode(t *testing.T, c *Cache, f *os.File) *Code {
	t.Helper()
	code, err := c.Code(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { code.Close() })
	return code
}
