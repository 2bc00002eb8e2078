package imgerr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func TestTextNamesImageHostAndRemedy(t *testing.T) {
	inner := &Error{Kind: ErrUnavailable, Host: "https://r", Text: "status 503", Remedy: "wait"}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{About("a/b:c", inner), "RegistryUnavailable: image a/b:c: registry https://r: status 503 (wait)"},
		{About("a/b:c", fmt.Errorf("layer 0: %w", inner)), "RegistryUnavailable: image a/b:c: layer 0: registry https://r: status 503 (wait)"},
		{About("a/b:c", &Error{Kind: ErrSignature, Text: "unsigned"}), "SignatureValidationFailed: image a/b:c: unsigned"},
		{&Error{Kind: ErrNotFound}, "not found"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	if inner.Image != "" {
		t.Error("About changed the error it was given")
	}
	if !strings.Contains(About("x", fmt.Errorf("write: %w", syscall.ENOSPC)).Error(), "free space") {
		t.Error("a full disk without remedy")
	}
	if About("x", nil) != nil {
		t.Error("About(nil) is an error")
	}
}

func TestKindsSurviveWrapping(t *testing.T) {
	for err, want := range map[error]error{
		context.Canceled: context.Canceled, context.DeadlineExceeded: context.DeadlineExceeded, syscall.ENOSPC: ErrNoSpace, syscall.EDQUOT: ErrNoSpace,
		ErrUnsafe: ErrUnsafe, &Error{Kind: ErrLimit}: ErrLimit,
	} {
		wrapped := About("x", fmt.Errorf("a: %w", fmt.Errorf("b: %w", err)))
		if KindOf(wrapped) != want || !errors.Is(wrapped, want) {
			t.Errorf("kind of %v = %v, want %v", wrapped, KindOf(wrapped), want)
		}
	}
	if KindOf(nil) != nil || KindOf(errors.New("x")) != nil {
		t.Error("an error without kind has one")
	}
}
