package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestClientsSayHowToStartADaemon(t *testing.T) {
	emptyConfig(t)
	socket := filepath.Join(t.TempDir(), "no.sock")
	for _, args := range [][]string{{"pull", "x"}, {"images"}, {"inspect", "x"}, {"rmi", "x"}, {"rmi", "--unused"}} {
		_, err := execute(append(args, "--socket", socket)...)
		if err == nil || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "cri-wasmer serve") {
			t.Errorf("%v: %v, want the socket and what to do", args, err)
		}
	}
}

// foreignImages answers as another runtime would: its info is its own.
type foreignImages struct {
	runtimev1.UnimplementedImageServiceServer
}

func (*foreignImages) ImageStatus(context.Context, *runtimev1.ImageStatusRequest) (*runtimev1.ImageStatusResponse, error) {
	return &runtimev1.ImageStatusResponse{Image: &runtimev1.Image{Id: "sha256:1"}, Info: map[string]string{"info": `{"chainID":"x"}`}}, nil
}

func TestAnotherRuntimeIsNotTakenForOurs(t *testing.T) {
	emptyConfig(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimev1.RegisterImageServiceServer(server, &foreignImages{})
	go server.Serve(l)
	t.Cleanup(server.Stop)
	if _, err := execute("inspect", "x", "--socket", socket); err == nil || !strings.Contains(err.Error(), "is not understood") {
		t.Errorf("inspect: %v", err)
	}
	if _, err := execute("rmi", "x", "--socket", socket); err == nil || strings.Contains(err.Error(), "rpc error") {
		t.Errorf("rmi: %v, want the text alone", err)
	}
}

func TestErrorsOfTheDaemonAreItsTextAlone(t *testing.T) {
	if got := plain(status.Error(codes.NotFound, "image x: not found")).Error(); got != "image x: not found" {
		t.Errorf("plain = %q", got)
	}
	if got := plain(status.Error(codes.Canceled, "context canceled")).Error(); got != "interrupted" {
		t.Errorf("plain = %q", got)
	}
	other := errors.New("x")
	if plain(other) != other || plain(nil) != nil {
		t.Error("other errors change")
	}
}

func TestPasswordsAreReadFromALine(t *testing.T) {
	for in, want := range map[string]string{"secret\nrest": "secret", "secret": "secret", "se cret\r\n": "se cret"} {
		if got, err := readPassword(strings.NewReader(in), &bytes.Buffer{}, "?"); err != nil || got != want {
			t.Errorf("readPassword(%q) = %q, %v", in, got, err)
		}
	}
	if _, err := readPassword(strings.NewReader(""), &bytes.Buffer{}, "?"); err == nil {
		t.Error("no password at all is taken")
	}
}
