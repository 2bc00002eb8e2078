package flight

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWorkIsSharedAndEndsWithItsLastWaiter(t *testing.T) {
	var g Group[int]
	var runs atomic.Int32
	release := make(chan struct{})
	work := func(ctx context.Context) (int, error) {
		runs.Add(1)
		select {
		case <-release:
			return 7, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	impatient, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var leaders atomic.Int32
	for i := range 10 {
		ctx := context.Background()
		if i%2 == 0 {
			ctx = impatient
		}
		wg.Go(func() {
			v, leader, err := g.Do(ctx, "k", work)
			if leader {
				leaders.Add(1)
			}
			if ctx == impatient && !errors.Is(err, context.Canceled) || ctx != impatient && (v != 7 || err != nil) {
				t.Errorf("impatient %v: %d, %v", ctx == impatient, v, err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(release)
	wg.Wait()
	if runs.Load() != 1 || leaders.Load() != 1 {
		t.Errorf("%d runs, %d leaders, want one of each", runs.Load(), leaders.Load())
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, _, err := g.Do(ctx, "alone", func(ctx context.Context) (int, error) {
		defer close(ended)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	<-ended // or the test hangs: nobody waits for the work any more
}

func TestCloseEndsWorkAndRefusesNew(t *testing.T) {
	var g Group[int]
	started := make(chan struct{})
	go g.Do(context.Background(), "k", func(ctx context.Context) (int, error) {
		close(started)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	<-started
	g.Close()
	if _, _, err := g.Do(context.Background(), "k", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
