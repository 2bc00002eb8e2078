package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

// execute runs the command line and returns what it printed.
func execute(args ...string) (string, error) {
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.Execute()
	return out.String(), err
}

// emptyConfig keeps a configuration of the machine out of the test.
func emptyConfig(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CRI_WASMER_CONFIG", file)
}

func TestVersionCommand(t *testing.T) {
	out, err := execute("version")
	if err != nil || !strings.HasPrefix(out, "cri-wasmer ") {
		t.Errorf("version = %q, %v, want the name first", out, err)
	}
	out, err = execute("version", "--json")
	var info map[string]string
	if err != nil || json.Unmarshal([]byte(out), &info) != nil || info["version"] == "" {
		t.Errorf("version --json = %q, %v, want an object with a version", out, err)
	}
}

func TestConfigCommands(t *testing.T) {
	emptyConfig(t)
	worker := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(worker, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		args    []string
		want    string
		wantErr string
	}{
		{"default", []string{"default"}, "[cni]\n", ""},
		{"show", []string{"show", "--log-level=warn"}, `level = "warn"`, ""},
		{"show what is wrong", []string{"show", "--stream-address=x"}, "", "--stream-address"},
		{"check", []string{"check", "--worker=" + worker}, "configuration is valid", ""},
		{"check without a worker", []string{"check", "--worker=/nowhere/worker"}, "", "--worker: option worker: stat /nowhere/worker"},
		{"no such command", []string{"chekc"}, "", `unknown command "chekc"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := execute(append([]string{"config"}, tt.args...)...)
			if !strings.Contains(out, tt.want) {
				t.Errorf("printed %q, want %q in it", out, tt.want)
			}
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error = %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestCheckReportsVariablesThatAreNoOptions(t *testing.T) {
	emptyConfig(t)
	t.Setenv("CRI_WASMER_SOKCET", "/x")
	if _, err := execute("config", "check"); err == nil || !strings.Contains(err.Error(), "CRI_WASMER_SOKCET") {
		t.Errorf("config check = %v, want the variable named", err)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"serve"}, {"config"}, {"config", "default"}, {"config", "show"}, {"config", "check"}, {"kubelet-flags"}, {"pull"}, {"images"}, {"inspect"}, {"rmi"}, {"doctor"}, {"version"}} {
		out, err := execute(append(args, "--help")...)
		if err != nil || len(out) < 80 {
			t.Errorf("%q --help = %v, %q", args, err, out)
		}
	}
}

func TestSocketIsTakenOnlyFromTheDead(t *testing.T) {
	dir := t.TempDir()
	live, stale, file := filepath.Join(dir, "live"), filepath.Join(dir, "stale"), filepath.Join(dir, "file")
	for _, name := range []string{live, stale} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if name == stale {
			l.Close()
		} else {
			defer l.Close()
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Join(dir, "nothing"): "", stale: "", live: "another server answers at " + live, file: "no socket",
	} {
		err := freeSocket(name)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", filepath.Base(name), err, want)
		}
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	root, state, other := t.TempDir(), filepath.Join(t.TempDir(), "made/by/us"), t.TempDir()
	unlock, err := lockDirs(root, state)
	if err != nil {
		t.Fatal(err)
	}
	for name, dirs := range map[string][]string{"the same root": {root, other}, "the same state": {other, state}} {
		_, err := lockDirs(dirs...)
		if want := "with pid " + strconv.Itoa(os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: lockDirs = %v, want %q in it", name, err, want)
		}
	}
	if again, err := lockDirs(other); err != nil {
		t.Errorf("lock of a failed attempt is still held: %v", err)
	} else {
		again()
	}
	parents := t.TempDir()
	leave, err := lockParent(parents, "/some/group")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockParent(parents, "/some/group"); err == nil || !strings.Contains(err.Error(), "control group /some/group is in use") {
		t.Errorf("the same parent: %v", err)
	}
	if again, err := lockParent(parents, "/some"); err != nil {
		t.Errorf("another parent: %v", err)
	} else {
		again()
	}
	leave()
	unlock()
	unlock, err = lockDirs(root, state)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	unlock()
}

func TestTheFirstSignalEndsTheContext(t *testing.T) {
	ctx, stop := untilSignal(context.Background(), slog.New(slog.DiscardHandler))
	defer stop()
	for _, sig := range []syscall.Signal{syscall.SIGPIPE, syscall.SIGTERM} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
		t.Error("context goes on after SIGTERM")
	}
}

func TestLogFormats(t *testing.T) {
	var text, js bytes.Buffer
	newLogger(&text, config.Log{Level: slog.LevelWarn, Format: "text"}).Info("quiet")
	newLogger(&js, config.Log{Level: slog.LevelInfo, Format: "json"}).Info("hello")
	if text.Len() != 0 {
		t.Errorf("logged %q below the level", text.String())
	}
	if !json.Valid(js.Bytes()) || !strings.Contains(js.String(), `"msg":"hello"`) {
		t.Errorf("logged %q, want JSON", js.String())
	}
}

func TestRlimitsBeyondTheDaemonsNeedAPrivilege(t *testing.T) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NICE, &own); err != nil {
		t.Fatal(err)
	}
	asked := []config.Rlimit{{Name: "nice", Resource: unix.RLIMIT_NICE, Soft: 0, Hard: own.Max + 1}}
	if _, err := rlimits(asked, 0); err == nil || !strings.Contains(err.Error(), "option container.rlimits: nice=0:") {
		t.Errorf("without the privilege: %v, want an error with option and limit", err)
	}
	if list, err := rlimits(asked, 1<<unix.CAP_SYS_RESOURCE); err != nil || len(list) != 1 || list[0].Hard != own.Max+1 {
		t.Errorf("with it: %v, %v", list, err)
	}
	asked[0].Hard = own.Max
	if _, err := rlimits(asked, 0); err != nil {
		t.Errorf("the daemon's own: %v", err)
	}
}
