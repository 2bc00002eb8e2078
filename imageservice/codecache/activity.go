package codecache

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"
)

// TierState says how far the code of one compiler is.
type TierState string

// States of a tier.
const (
	TierReady     TierState = "ready"
	TierCompiling TierState = "compiling"
	TierQueued    TierState = "queued" // waits for a compiler
	TierFailed    TierState = "failed" // Error says why
)

// Tier is what there is, or will be, of one compiler for a module.
type Tier struct {
	Compiler string        `json:"compiler,omitempty"` // empty as long as it is not decided
	State    TierState     `json:"state"`
	Size     int64         `json:"size,omitempty"`
	Took     time.Duration `json:"tookNanoseconds,omitempty"` // to compile
	Since    time.Time     `json:"since,omitzero"`            // of a compilation under way
	Error    string        `json:"error,omitempty"`
}

// work names what one compiler does with one module.
type work struct{ digest, compiler string }

// activity knows what the compilers do. The zero value is ready. Safe for
// concurrent use.
type activity struct {
	mu      sync.Mutex
	waiting map[string]int     // modules that are to be compiled, to those who ask
	running map[work]time.Time // since when
	failed  map[work]string    // why the last attempt failed
}

const maxFailures = 256

// expect says that a module is to be compiled, until done is called.
func (a *activity) expect(digest string) (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting, a.running, a.failed = map[string]int{}, map[work]time.Time{}, map[work]string{}
	}
	a.waiting[digest]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.waiting[digest]--; a.waiting[digest] == 0 {
			delete(a.waiting, digest)
		}
	}
}

// begin says that a compiler is at work, until done is called with its result.
func (a *activity) begin(digest, compiler string) (done func(error)) {
	end := a.expect(digest)
	w := work{digest, compiler}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running[w] = time.Now()
	return func(err error) {
		end()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.running, w)
		delete(a.failed, w)
		if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if len(a.failed) >= maxFailures {
			clear(a.failed)
		}
		a.failed[w] = err.Error()
	}
}

// tier gives what a compiler does, or failed to do, with a module.
func (a *activity) tier(digest, compiler string) (Tier, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := work{digest, compiler}
	if since, ok := a.running[w]; ok {
		return Tier{Compiler: compiler, State: TierCompiling, Since: since}, true
	}
	if text, ok := a.failed[w]; ok {
		return Tier{Compiler: compiler, State: TierFailed, Error: text}, true
	}
	return Tier{}, false
}

func (a *activity) isWaiting(digest string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting[digest] > 0
}

// Tiers lists what there is for a module (sha256:HEX) and what is being made of
// it, the best first.
func (c *Cache) Tiers(digest string) []Tier {
	var list []Tier
	busy := false
	for _, compiler := range c.compilers() {
		if t, ok := c.tier(digest, compiler); ok {
			busy = busy || t.State == TierCompiling || t.State == TierQueued
			list = append(list, t)
		}
	}
	if !busy && c.activity.isWaiting(digest) {
		list = append(list, Tier{State: TierQueued})
	}
	return list
}

func (c *Cache) tier(digest, compiler string) (Tier, bool) {
	if t, ok := c.ready(digest, compiler); ok {
		return t, true
	}
	c.mu.Lock()
	queued := c.queued[c.fileName(digest, compiler)]
	c.mu.Unlock()
	t, ok := c.activity.tier(digest, compiler)
	if queued && t.State != TierCompiling {
		return Tier{Compiler: compiler, State: TierQueued}, true
	}
	return t, ok
}

// ready gives the code on disk, if it is sound.
func (c *Cache) ready(digest, compiler string) (Tier, bool) {
	for _, class := range []string{classImage, classDemand} {
		code, err := c.openCode(filepath.Join(c.dir(class), c.fileName(digest, compiler)), digest, compiler)
		if err != nil {
			continue
		}
		defer code.Close()
		return Tier{Compiler: compiler, State: TierReady, Size: code.Size, Took: time.Duration(code.Header.CompileTime)}, true
	}
	return Tier{}, false
}
