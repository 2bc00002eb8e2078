package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// kindCodes is the one place where error kinds become gRPC codes. The first
// kind that fits decides.
var kindCodes = []struct {
	kind error
	code codes.Code
}{
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{sandbox.ErrTimeout, codes.DeadlineExceeded},
	{sandbox.ErrProgram, codes.InvalidArgument},
	{sandbox.ErrExists, codes.AlreadyExists},
	{sandbox.ErrInvalid, codes.InvalidArgument},
	{sandbox.ErrUnsupported, codes.Unimplemented},
	{sandbox.ErrPrecondition, codes.FailedPrecondition},
	{sandbox.ErrUnavailable, codes.Unavailable},
	{sandbox.ErrNotFound, codes.NotFound},
	{sandbox.ErrImageVolume, codes.FailedPrecondition},
	// The kubelet looks for these two by the start of their text, and sees that
	// only where the code is unknown: its client takes no other code away.
	{imgerr.ErrSignature, codes.Unknown},
	{imgerr.ErrUnauthorized, codes.Unauthenticated},
	{imgerr.ErrUnavailable, codes.Unknown},
	{imgerr.ErrDigestMismatch, codes.DataLoss},
	{imgerr.ErrUnsupported, codes.FailedPrecondition},
	{imgerr.ErrMalformed, codes.DataLoss},
	{imgerr.ErrUnsafe, codes.DataLoss},
	{imgerr.ErrLimit, codes.ResourceExhausted},
	{imgerr.ErrNoSpace, codes.ResourceExhausted},
	{imgerr.ErrInvalidReference, codes.InvalidArgument},
	{imgerr.ErrClosed, codes.Unavailable},
	{imgerr.ErrNotFound, codes.NotFound},
	{syscall.ENOSPC, codes.ResourceExhausted}, // of pods and containers: a full disk
	{syscall.EDQUOT, codes.ResourceExhausted},
}

// statusOf gives an error its gRPC code; its text goes to the client whole.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, k := range kindCodes {
		if errors.Is(err, k.kind) {
			return status.Error(k.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

// intercept gives every error its code, logs what an operator must see, and
// keeps a panic from ending the daemon.
func intercept(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if err = settle(log, info.FullMethod, recover(), err); err != nil {
				resp = nil
			}
		}()
		return next(ctx, req)
	}
}

// interceptStream is intercept for streams.
func interceptStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() { err = settle(log, info.FullMethod, recover(), err) }()
		return next(srv, stream)
	}
}

// settle logs how a request failed and gives what the client is told.
func settle(log *slog.Logger, method string, panicked any, err error) error {
	if panicked != nil {
		log.Error("request panicked", "method", method, "panic", panicked, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, fmt.Sprintf("%s failed: %v: this is a bug of cri-wasmer, its log holds the stack", method, panicked))
	}
	if err == nil {
		return nil
	}
	told := statusOf(err)
	log.Log(context.Background(), severity(status.Code(told)), "request failed", "method", path.Base(method), "code", status.Code(told).String(), "error", err)
	return told
}

func severity(code codes.Code) slog.Level {
	switch code {
	case codes.Internal, codes.DataLoss, codes.ResourceExhausted:
		return slog.LevelError
	case codes.NotFound, codes.Canceled, codes.Unimplemented:
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
