package cri

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	crierrors "k8s.io/cri-api/pkg/errors"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// The kubelet's client takes the code away from unknown errors, and looks how
// the rest begins.
func TestErrorsThatTheKubeletKnowsByTheirText(t *testing.T) {
	for kind, want := range map[error]error{
		imgerr.ErrUnavailable: crierrors.ErrRegistryUnavailable, imgerr.ErrSignature: crierrors.ErrSignatureValidationFailed,
	} {
		err := statusOf(&imgerr.Error{Kind: kind, Image: "example.com/a:v1", Text: "it is so"})
		if s := status.Convert(err); s.Code() != codes.Unknown || !strings.HasPrefix(s.Message(), want.Error()) {
			t.Errorf("%v: got %v, want an unknown error that begins with %v", kind, err, want)
		}
	}
}

func TestCodesOfErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want codes.Code
	}{
		{sandbox.ErrNotFound, codes.NotFound},
		{sandbox.ErrExists, codes.AlreadyExists},
		{sandbox.ErrTimeout, codes.DeadlineExceeded}, // as probes want it
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{&sandbox.TransitionError{Object: "x", From: sandbox.PhaseExited, To: sandbox.PhaseRunning}, codes.FailedPrecondition},
		{fmt.Errorf("not made: %w: %w", sandbox.ErrImageVolume, sandbox.ErrInvalid), codes.InvalidArgument},
		{errCheckpoint, codes.Unimplemented},
		{imgerr.ErrNotFound, codes.NotFound},
		{status.Error(codes.Aborted, "by another"), codes.Aborted},
		{&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, codes.ResourceExhausted},
		{fmt.Errorf("disk on fire"), codes.Internal},
	} {
		if got := status.Code(statusOf(fmt.Errorf("wrapped: %w", tt.err))); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.err, got, tt.want)
		}
	}
	if statusOf(nil) != nil {
		t.Error("no error became one")
	}
}
