package process

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUninterruptedCallsAgain(t *testing.T) {
	for _, want := range []error{nil, unix.EPIPE} {
		calls := 0
		err := uninterrupted("read", func() error {
			if calls++; calls < 3 {
				return unix.EINTR
			}
			return want
		})
		if !errors.Is(err, want) || calls != 3 {
			t.Errorf("got %v after %d calls, want %v after 3", err, calls, want)
		}
	}
}
