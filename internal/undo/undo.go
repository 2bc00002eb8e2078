// Package undo takes back the steps of an operation that failed halfway.
package undo

import (
	"context"
	"errors"
	"time"
)

// Timeout bounds each inverse.
const Timeout = 10 * time.Second

// Stack holds the inverse of each step that was done. The zero value is ready.
// Not safe for concurrent use.
type Stack struct{ inverses []func(context.Context) error }

// Push adds the inverse of the step just done.
func (s *Stack) Push(inverse func(context.Context) error) { s.inverses = append(s.inverses, inverse) }

// Release forgets all inverses: the operation has succeeded.
func (s *Stack) Release() { s.inverses = nil }

// Run runs all inverses, the latest first, each with a time of its own that no
// cancelled request cuts short. It gives their errors joined.
func (s *Stack) Run() error {
	var errs []error
	for i := len(s.inverses) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), Timeout)
		errs = append(errs, s.inverses[i](ctx))
		cancel()
	}
	s.inverses = nil
	return errors.Join(errs...)
}
