package cgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// bus is what the package asks of systemd. Calls return when the job is done.
type bus interface {
	start(ctx context.Context, unit string, props []systemd.Property) error
	stop(ctx context.Context, unit string) error
	set(ctx context.Context, unit string, props []systemd.Property) error
	// result gives the Result property of a scope.
	result(ctx context.Context, unit string) (string, error)
	Close()
}

var (
	errNoUnit     = errors.New("no such unit")
	errUnitExists = errors.New("unit exists")
)

// dialTime bounds connecting to systemd, which happens at start.
const dialTime = 10 * time.Second

// systemdBus is a connection to systemd that is made again when it was lost.
// It is safe for concurrent use.
type systemdBus struct {
	dial func(context.Context) (*systemd.Conn, error)

	mu   sync.Mutex
	conn *systemd.Conn
}

func dialSystemd() (bus, error) {
	return newSystemdBus(systemd.NewWithContext)
}

func newSystemdBus(dial func(context.Context) (*systemd.Conn, error)) (bus, error) {
	b := &systemdBus{dial: dial}
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	if _, err := b.connect(ctx); err != nil {
		return nil, fmt.Errorf("connect to systemd (for a host without it, set the driver to cgroupfs): %w", err)
	}
	return b, nil
}

func (b *systemdBus) connect(ctx context.Context) (*systemd.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
	// The context given to dial bounds the life of the connection as well.
	conn, err := b.dial(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	b.conn = conn
	return conn, nil
}

// Close ends the connection.
func (b *systemdBus) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// do makes a call, and once more when the connection turns out to be dead.
func (b *systemdBus) do(ctx context.Context, call func(*systemd.Conn) error) error {
	for try := 0; ; try++ {
		conn, err := b.connect(ctx)
		if err != nil {
			return fmt.Errorf("connect to systemd: %w", err)
		}
		err = known(call(conn))
		if !errors.Is(err, dbus.ErrClosed) || try > 0 {
			return err
		}
	}
}

// known names the errors of systemd that matter here.
func known(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Name {
	case "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.UnknownObject":
		return fmt.Errorf("%w: %w", errNoUnit, err)
	case "org.freedesktop.systemd1.UnitExists":
		return fmt.Errorf("%w: %w", errUnitExists, err)
	}
	return err
}

// job starts a job and waits for its result.
func (b *systemdBus) job(ctx context.Context, what string, start func(*systemd.Conn, chan<- string) error) error {
	done := make(chan string, 1)
	if err := b.do(ctx, func(c *systemd.Conn) error { return start(c, done) }); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd: %s: job %s", what, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd: %s: %w", what, ctx.Err())
	}
}

func (b *systemdBus) start(ctx context.Context, unit string, props []systemd.Property) error {
	return b.job(ctx, "start "+unit, func(c *systemd.Conn, done chan<- string) error {
		_, err := c.StartTransientUnitContext(ctx, unit, "replace", props, done)
		return err
	})
}

// stop stops a unit and makes systemd forget it, even if it failed.
func (b *systemdBus) stop(ctx context.Context, unit string) error {
	err := b.job(ctx, "stop "+unit, func(c *systemd.Conn, done chan<- string) error {
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
	if e := b.reset(ctx, unit); err == nil {
		err = e
	}
	return err
}

func (b *systemdBus) reset(ctx context.Context, unit string) error {
	err := b.do(ctx, func(c *systemd.Conn) error { return c.ResetFailedUnitContext(ctx, unit) })
	if errors.Is(err, errNoUnit) {
		return nil // it did not fail, so it is gone already
	}
	return err
}

func (b *systemdBus) set(ctx context.Context, unit string, props []systemd.Property) error {
	return b.do(ctx, func(c *systemd.Conn) error {
		return c.SetUnitPropertiesContext(ctx, unit, true, props...)
	})
}

func (b *systemdBus) result(ctx context.Context, unit string) (string, error) {
	var result string
	err := b.do(ctx, func(c *systemd.Conn) error {
		p, err := c.GetUnitTypePropertyContext(ctx, unit, "Scope", "Result")
		if err != nil {
			return err
		}
		result, _ = p.Value.Value().(string)
		return nil
	})
	return result, err
}
