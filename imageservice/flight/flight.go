// Package flight runs work once for all who ask for it at the same time.
package flight

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is the error of work that is asked of a closed group.
var ErrClosed = errors.New("closed")

// Group runs a function once for all who ask for the same key at the same
// time. The function runs on its own context, which ends when everybody who
// asked has gone or the group is closed. The zero value is ready. Safe for
// concurrent use.
type Group[T any] struct {
	mu     sync.Mutex
	closed bool
	m      map[string]*call[T]
	wg     sync.WaitGroup
}

type call[T any] struct {
	done    chan struct{} // closed when value and err are there
	value   T
	err     error
	waiters int
	cancel  context.CancelFunc
}

// Do gives the result of fn for key, and whether this call started it. The
// error is that of fn, that of the context, or ErrClosed. After everybody has
// given up, a newcomer starts anew, possibly before the old run has returned.
func (g *Group[T]) Do(ctx context.Context, key string, fn func(context.Context) (T, error)) (value T, leader bool, err error) {
	if ctx.Err() != nil {
		return value, false, context.Cause(ctx)
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return value, false, ErrClosed
	}
	c := g.m[key]
	if c == nil {
		c, leader = g.start(ctx, key, fn), true
	}
	c.waiters++
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.value, leader, c.err
	case <-ctx.Done():
		g.leave(key, c)
		return value, leader, context.Cause(ctx)
	}
}

func (g *Group[T]) start(ctx context.Context, key string, fn func(context.Context) (T, error)) *call[T] {
	if g.m == nil {
		g.m = map[string]*call[T]{}
	}
	cctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &call[T]{done: make(chan struct{}), cancel: cancel}
	g.m[key] = c
	g.wg.Go(func() {
		defer cancel()
		c.value, c.err = fn(cctx)
		g.forget(key, c)
		close(c.done)
	})
	return c
}

func (g *Group[T]) forget(key string, c *call[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.m[key] == c {
		delete(g.m, key)
	}
}

func (g *Group[T]) leave(key string, c *call[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters--; c.waiters == 0 {
		c.cancel()
		if g.m[key] == c {
			delete(g.m, key)
		}
	}
}

// Close refuses new work, ends what runs and waits for it. Work that everybody
// left is waited for as well.
func (g *Group[T]) Close() {
	g.mu.Lock()
	g.closed = true
	for _, c := range g.m {
		c.cancel()
	}
	g.mu.Unlock()
	g.wg.Wait()
}
