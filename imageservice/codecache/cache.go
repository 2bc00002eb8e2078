package codecache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/flight"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// Config configures a Cache. Dir and Worker are needed.
type Config struct {
	Dir         string // owned by the cache
	Worker      string // the worker binary
	WorkerEnv   []string
	MaxParallel int           // compilations at a time, besides one in the background; 0 means half the CPUs
	Timeout     time.Duration // of one compilation; 0 means 10 minutes
	MemoryLimit int64         // bytes, of one compilation; 0 means 2 GiB
	MaxModule   int64         // bytes of a module; 0 means 256 MiB
	// FastTier is the size from which a module is compiled with the quick
	// compiler first; 0 means 4 MiB, negative never.
	FastTier    int64
	DemandLimit int64 // bytes of code that no image owns; 0 means 1 GiB
	// Jail bounds each compilation from outside; nil: its own bounds are all.
	Jail Jail
	// Filter is the system call filter of compilations, an array of struct
	// sock_filter; empty: none.
	Filter   []byte
	Observer Observer // nil: none
	Logger   *slog.Logger
}

// Observer is told what happens, to count it. Its methods do not block. Safe
// for concurrent use.
type Observer interface {
	Compiled(compiler string, took time.Duration, err error)
	// CodeLookedUp tells by which compiler the code was that was found; empty:
	// there was none.
	CodeLookedUp(compiler string)
}

type noObserver struct{}

func (noObserver) Compiled(string, time.Duration, error) {}
func (noObserver) CodeLookedUp(string)                   {}

// Jail is a cgroup for each compilation.
type Jail interface {
	// Confine takes a process in that waits to begin. free undoes it after
	// the process has ended.
	Confine(ctx context.Context, pid int, b Bounds) (free func(), err error)
}

// Bounds are what a Jail enforces.
type Bounds struct {
	Memory     int64 // bytes, with all that is not the compiler's data
	Background bool  // nobody waits for it
}

// Compilers by name, as workers know them.
const (
	goodCompiler  = "cranelift"
	quickCompiler = "singlepass"
)

// ErrCompile is the kind of a compilation that failed without a verdict about
// the module: the compiler crashed, or its process could not run. Trying again
// may help.
var ErrCompile = errors.New("compilation failed")

// ErrClosed is the error of every call after Close.
var ErrClosed = errors.New("code cache is closed")

// Cache keeps compiled code. Safe for concurrent use.
type Cache struct {
	cfg     Config
	log     *slog.Logger
	info    workerv1.Info
	keys    map[string][32]byte // of the compilers on offer
	offered map[[2]string]map[[2]string]bool
	slots   *semaphore.Weighted
	builds  flight.Group[string]

	activity activity // what compilers do, for those who look

	mu       sync.Mutex
	hashes   map[identity]string
	verified map[identity]*workerv1.CodeHeader
	reports  map[string]verdict
	owned    map[string]bool // modules of images
	failed   map[string]bool // file names whose background build failed: not again
	queued   map[string]bool
	closed   bool

	upgrades chan upgrade
	quit     chan struct{} // closed by Close
	wg       sync.WaitGroup
}

// Code is compiled code, ready for a worker. The caller owns it until Close.
type Code struct {
	File     *os.File // open for reading, at offset 0
	Header   *workerv1.CodeHeader
	Module   string // sha256:HEX
	Compiler string
	Size     int64
}

// Close gives up the file.
func (c *Code) Close() error { return c.File.Close() }

// Open opens the cache and asks the worker what it is. Code of another engine,
// version or CPU is deleted. Errors are about the disk and a worker that does
// not answer.
func Open(ctx context.Context, cfg Config) (*Cache, error) {
	if cfg.Dir == "" || cfg.Worker == "" {
		return nil, errors.New("open code cache: directory and worker are needed")
	}
	cfg = cfg.withDefaults()
	c := &Cache{
		cfg: cfg, log: cfg.Logger, slots: semaphore.NewWeighted(int64(cfg.MaxParallel)), keys: map[string][32]byte{},
		offered: map[[2]string]map[[2]string]bool{}, hashes: map[identity]string{}, verified: map[identity]*workerv1.CodeHeader{},
		reports: map[string]verdict{}, owned: map[string]bool{}, failed: map[string]bool{}, queued: map[string]bool{},
		upgrades: make(chan upgrade, 64), quit: make(chan struct{}),
	}
	for _, d := range []string{cfg.Dir, c.dir(classImage), c.dir(classDemand), c.dir("tmp")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open code cache: %w", err)
		}
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open code cache: %w", err)
	}
	info, err := probe(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open code cache: %w", err)
	}
	c.setEngine(info)
	if err := c.clean(); err != nil {
		return nil, fmt.Errorf("open code cache: %w", err)
	}
	c.wg.Add(1)
	go c.upgrader()
	return c, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.MaxParallel <= 0 {
		cfg.MaxParallel = max(1, runtime.NumCPU()/2)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Minute
	}
	if cfg.MemoryLimit <= 0 {
		cfg.MemoryLimit = 2 << 30
	}
	if cfg.MaxModule <= 0 {
		cfg.MaxModule = 256 << 20
	}
	if cfg.FastTier == 0 {
		cfg.FastTier = 4 << 20
	}
	if cfg.DemandLimit <= 0 {
		cfg.DemandLimit = 1 << 30
	}
	if cfg.Observer == nil {
		cfg.Observer = noObserver{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func (c *Cache) setEngine(info *workerv1.Info) {
	c.info = *info
	for _, name := range info.Compilers {
		c.keys[name] = info.Key(name)
	}
	for _, i := range info.Imports {
		k := [2]string{i.Module, i.Name}
		if c.offered[k] == nil {
			c.offered[k] = map[[2]string]bool{}
		}
		c.offered[k][[2]string{i.Params, i.Results}] = true
	}
}

// Engine tells what the worker said of itself.
func (c *Cache) Engine() workerv1.Info {
	info := c.info
	info.Compilers = slices.Clone(info.Compilers)
	info.Imports = slices.Clone(info.Imports)
	return info
}

// Close ends running compilations and waits for them.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	close(c.quit)
	c.builds.Close()
	c.wg.Wait()
	for {
		select {
		case u := <-c.upgrades: // waits for a compiler that will not come
			u.module.Close()
		default:
			return nil
		}
	}
}

// Code gives the compiled form of a module: the best that is there, else it is
// compiled now, once for all who ask. The error is a *Refusal when the file
// cannot run here, of kind ErrCompile when the compiler failed, or that of the
// context, which bounds the wait.
func (c *Cache) Code(ctx context.Context, module *os.File) (*Code, error) {
	digest, size, err := c.hash(module)
	if err != nil {
		return nil, err
	}
	if code := c.found(module, digest); code != nil {
		c.cfg.Observer.CodeLookedUp(code.Compiler)
		return code, nil
	}
	c.cfg.Observer.CodeLookedUp("")
	built, err := c.built(ctx, module, digest, size)
	if err != nil {
		return nil, err
	}
	if code := c.found(module, built); code != nil {
		return code, nil
	}
	return nil, fmt.Errorf("%w: code of %s vanished: is the limit for code too small?", ErrCompile, built)
}

// found looks code up and has it made better if that is possible.
func (c *Cache) found(module *os.File, digest string) *Code {
	code := c.lookup(digest)
	if code != nil && code.Compiler == quickCompiler {
		c.wantUpgrade(module, digest)
	}
	return code
}

// built compiles a module, or waits for the one who does. It gives the digest
// of what was compiled, which is another one when the file was changed after
// it was hashed.
func (c *Cache) built(ctx context.Context, module *os.File, digest string, size int64) (string, error) {
	// The caller may give up and close its file while others wait.
	own, err := reopen(module)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCompile, err)
	}
	built, leader, err := c.builds.Do(ctx, digest, func(ctx context.Context) (string, error) {
		defer own.Close()
		defer c.activity.expect(digest)()
		return c.build(ctx, own, size)
	})
	if !leader {
		own.Close()
	}
	if errors.Is(err, flight.ErrClosed) {
		err = ErrClosed
	}
	return built, err
}

// reopen gives a file of its own for the same content.
func reopen(f *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// Classes of code, and the directories that hold them.
const (
	classImage  = "image"
	classDemand = "demand"
)

func (c *Cache) dir(class string) string { return filepath.Join(c.cfg.Dir, class) }

// fileName is the key of code: module, engine with version and CPU, compiler.
func (c *Cache) fileName(digest, compiler string) string {
	key := c.keys[compiler]
	return fmt.Sprintf("%s-%x-%s", strings.TrimPrefix(digest, "sha256:"), key[:8], compiler)
}

// compilers gives those on offer, the one with the best code first.
func (c *Cache) compilers() []string {
	list := slices.Clone(c.info.Compilers)
	slices.SortStableFunc(list, func(a, b string) int { return tier(a) - tier(b) })
	return list
}

func tier(compiler string) int {
	switch compiler {
	case goodCompiler:
		return 0
	case quickCompiler:
		return 2
	}
	return 1
}

// lookup opens the best code that is there and sound. What is not is deleted.
func (c *Cache) lookup(digest string) *Code {
	for _, compiler := range c.compilers() {
		for _, class := range []string{classImage, classDemand} {
			path := filepath.Join(c.dir(class), c.fileName(digest, compiler))
			code, err := c.openCode(path, digest, compiler)
			if err == nil {
				if class == classDemand {
					c.touch(path)
				}
				return code
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			c.log.Warn("code file cannot be used, it is made anew", "file", path, "error", err)
			os.Remove(path)
		}
	}
	return nil
}

// openCode opens and verifies one file. A file is verified again only when it
// is another one than last time.
func (c *Cache) openCode(path, digest, compiler string) (*Code, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	id, err := identify(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	c.mu.Lock()
	h := c.verified[id]
	c.mu.Unlock()
	if h == nil {
		if h, err = c.verify(f, id.size, digest, compiler); err != nil {
			f.Close()
			return nil, err
		}
		c.mu.Lock()
		if len(c.verified) >= maxRemembered {
			clear(c.verified)
		}
		c.verified[id] = h
		c.mu.Unlock()
	}
	return &Code{File: f, Header: h, Module: digest, Compiler: compiler, Size: id.size}, nil
}

func (c *Cache) verify(f *os.File, size int64, digest, compiler string) (*workerv1.CodeHeader, error) {
	h, err := workerv1.VerifyCode(f, size)
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("sha256:%x", h.Module); got != digest {
		return nil, fmt.Errorf("%w: it is of module %s, not %s", workerv1.ErrBadCode, got, digest)
	}
	if h.Engine != c.keys[compiler] {
		return nil, fmt.Errorf("%w: it is of another engine", workerv1.ErrBadCode)
	}
	return h, nil
}

// touch notes the use of code on demand, for the choice of what goes first. It
// changes the identity of the file, so it must be rare.
func (c *Cache) touch(path string) {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) < time.Hour {
		return
	}
	now := time.Now()
	os.Chtimes(path, now, now) // an error is no matter: only the order of deletion suffers
}
