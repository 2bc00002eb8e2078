package codecache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// build compiles a module with the compiler that suits its size, and gives the
// digest of what it compiled.
func (c *Cache) build(ctx context.Context, module *os.File, size int64) (string, error) {
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return "", context.Cause(ctx)
	}
	defer c.slots.Release(1)
	mem, digest, err := snapshot(module, c.cfg.MaxModule)
	if err != nil {
		return "", err
	}
	defer mem.Close()
	// Which function is called is the caller's matter.
	var no *Refusal
	if _, err := c.Preflight(mem, ""); err != nil && !(errors.As(err, &no) && no.Kind == NoStart) {
		return "", err
	}
	list := c.compilers()
	if len(list) == 0 {
		return "", fmt.Errorf("%w: the worker offers no compiler", ErrCompile)
	}
	good := list[0]
	quick := slices.Contains(list, quickCompiler) && good != quickCompiler
	if quick && c.cfg.FastTier >= 0 && size >= c.cfg.FastTier {
		err := c.compile(ctx, mem, digest, quickCompiler, 0)
		if err == nil || ctx.Err() != nil || (errors.As(err, &no) && no.Kind != Unsupported) {
			return digest, err
		}
		c.log.Debug("the quick compiler cannot do this module", "module", digest, "error", err)
	}
	return digest, c.compile(ctx, mem, digest, good, 0)
}

// compile runs one compilation and stores what it made.
func (c *Cache) compile(ctx context.Context, mem *os.File, digest, compiler string, nice int) error {
	done, begin := c.activity.begin(digest, compiler), time.Now()
	err := c.compileAndStore(ctx, mem, digest, compiler, nice)
	done(err)
	c.cfg.Observer.Compiled(compiler, time.Since(begin), err)
	return err
}

func (c *Cache) compileAndStore(ctx context.Context, mem *os.File, digest, compiler string, nice int) error {
	out, err := os.CreateTemp(c.dir("tmp"), "code-*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCompile, err)
	}
	defer os.Remove(out.Name()) // gone already when all went well
	defer out.Close()
	begin := time.Now()
	log := c.log.With("module", digest, "compiler", compiler)
	log.Info("compiling module")
	if err := c.run(ctx, mem, out, compiler, nice); err != nil {
		log.Warn("compiling failed", "took", time.Since(begin).Round(time.Millisecond), "error", err)
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCompile, err)
	}
	if _, err := c.verify(out, info.Size(), digest, compiler); err != nil {
		return fmt.Errorf("%w: the worker wrote bad code: %w", ErrCompile, err)
	}
	if err := c.store(out, digest, compiler); err != nil {
		return fmt.Errorf("%w: %w", ErrCompile, err)
	}
	log.Info("module compiled", "took", time.Since(begin).Round(time.Millisecond), "bytes", info.Size())
	return nil
}

// store gives finished code its name.
func (c *Cache) store(out *os.File, digest, compiler string) error {
	if err := errors.Join(out.Chmod(0o600), out.Sync()); err != nil {
		return err
	}
	class := c.classOf(digest)
	if err := os.Rename(out.Name(), filepath.Join(c.dir(class), c.fileName(digest, compiler))); err != nil {
		return err
	}
	if err := syncDir(c.dir(class)); err != nil {
		return err
	}
	// An image may have taken the module over, or left it, meanwhile.
	if now := c.classOf(digest); now != class {
		c.move(digest, class, now)
	}
	if class == classDemand {
		c.evict(c.fileName(digest, compiler))
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// upgrade is code of the quick compiler that the good one is to replace.
type upgrade struct {
	module *os.File
	digest string
}

// wantUpgrade queues the good compiler for a module that has quick code only.
// It never blocks: a full queue means that a later use asks again.
func (c *Cache) wantUpgrade(module *os.File, digest string) {
	good := c.compilers()[0]
	if good == quickCompiler {
		return
	}
	name := c.fileName(digest, good)
	c.mu.Lock()
	skip := c.queued[name] || c.failed[name] || c.closed
	c.queued[name] = c.queued[name] || !skip
	c.mu.Unlock()
	if skip {
		return
	}
	f, err := reopen(module)
	if err == nil {
		select {
		case c.upgrades <- upgrade{f, digest}:
			return
		default:
			f.Close()
		}
	}
	c.unqueue(name, false)
}

func (c *Cache) unqueue(name string, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.queued, name)
	if failed {
		c.failed[name] = true
	}
}

// upgrader makes the good code in the background, one module at a time and at
// the lowest priority. It takes no slot: it may need minutes, and whoever pulls
// an image meanwhile must not wait for that.
func (c *Cache) upgrader() {
	defer c.wg.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.wg.Go(func() { // ends a compilation that runs when the cache is closed
		<-c.quit
		cancel()
	})
	for {
		select {
		case <-c.quit:
			return
		case u := <-c.upgrades:
			good := c.compilers()[0]
			err := c.upgrade(ctx, u, good)
			u.module.Close()
			c.unqueue(c.fileName(u.digest, good), err != nil && ctx.Err() == nil)
			if err != nil && ctx.Err() == nil {
				c.log.Warn("module keeps its quick code", "module", u.digest, "error", err)
			}
		}
	}
}

const lowPriority = 19

func (c *Cache) upgrade(ctx context.Context, u upgrade, good string) error {
	mem, digest, err := snapshot(u.module, c.cfg.MaxModule)
	if err != nil {
		return err
	}
	defer mem.Close()
	if digest != u.digest || !c.has(digest, quickCompiler) {
		return nil // changed or deleted meanwhile: nobody needs it
	}
	if err := c.compile(ctx, mem, digest, good, lowPriority); err != nil {
		return err
	}
	c.remove(c.fileName(digest, quickCompiler)) // who uses it has it open
	return nil
}

func (c *Cache) has(digest, compiler string) bool {
	for _, class := range []string{classImage, classDemand} {
		if _, err := os.Lstat(filepath.Join(c.dir(class), c.fileName(digest, compiler))); err == nil {
			return true
		}
	}
	return false
}
