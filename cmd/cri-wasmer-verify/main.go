// Command cri-wasmer-verify judges signatures of images for cri-wasmer.
//
// It reads one request (proto/verify/v1) from its standard input and writes one
// verdict to its standard output. Everything that it needs is in the request:
// it opens no file, reaches no network and keeps nothing.
//
// It is a program of its own, in a module of its own, because the libraries
// that know signatures (sigstore-go, notation-go) would nearly double the
// daemon and bring it some seventy modules, and because what it parses comes
// from strangers: a fault here ends a short-lived process without privileges.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/cmd/cri-wasmer-verify/verifyv1"
)

// Bounds of this process.
const (
	maxMemory  = 512 << 20
	maxCPU     = 20 // seconds
	maxRequest = 128 << 20
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cri-wasmer-verify:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	if err := bound(); err != nil {
		return err
	}
	var req verifyv1.Request
	if err := json.NewDecoder(io.LimitReader(in, maxRequest)).Decode(&req); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return json.NewEncoder(out).Encode(judge(&req))
}

// bound limits this process before it reads anything.
func bound() error {
	debug.SetMemoryLimit(maxMemory / 2)
	limits := map[int]uint64{unix.RLIMIT_DATA: maxMemory, unix.RLIMIT_CPU: maxCPU, unix.RLIMIT_FSIZE: 1 << 20, unix.RLIMIT_CORE: 0}
	for what, n := range limits {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit this process: %w", err)
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// judge tries the signatures one after the other: one that convinces is enough.
func judge(req *verifyv1.Request) *verifyv1.Response {
	resp := &verifyv1.Response{Version: verifyv1.Version}
	if req.Version != verifyv1.Version {
		resp.Error = fmt.Sprintf("request of version %d, this program speaks %d", req.Version, verifyv1.Version)
		return resp
	}
	check, err := checker(req)
	if err != nil {
		resp.Error = err.Error()
		return resp
	}
	for _, s := range req.Signatures {
		by, err := check(s)
		if err == nil {
			return &verifyv1.Response{Version: verifyv1.Version, Accepted: true, By: by}
		}
		resp.Reasons = append(resp.Reasons, shorten(s.Origin+": "+strings.ReplaceAll(err.Error(), "\n", "; ")))
	}
	return resp
}

func shorten(s string) string {
	if len(s) > 500 {
		return s[:500] + "..."
	}
	return s
}

// checker prepares what the demand wants: a function that names who signed.
func checker(req *verifyv1.Request) (func(verifyv1.Signature) (string, error), error) {
	switch d := req.Demand; {
	case d.Cosign != nil && d.Notation == nil:
		c, err := newCosign(req)
		if err != nil {
			return nil, err
		}
		return c.check, nil
	case d.Notation != nil && d.Cosign == nil:
		n, err := newNotation(req)
		if err != nil {
			return nil, err
		}
		return n.check, nil
	}
	return nil, errors.New("the request demands nothing, or two things")
}
