package seccomp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a child that installs a program: the value is
// the name of a function below, a space and the program in hexadecimal.
const childEnv = "SECCOMP_TEST_CHILD"

var children = map[string]func() error{
	"work":  work,
	"fork":  fork,
	"chmod": func() error { return os.Chmod("/", 0o755) },
	"exec":  func() error { return unix.Exec("/bin/true", nil, nil) },
	"alg":   func() error { _, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0); return err },
	"nap":   func() error { time.Sleep(time.Millisecond); return nil },
}

func TestMain(m *testing.M) {
	name, program, ok := strings.Cut(os.Getenv(childEnv), " ")
	if !ok {
		os.Exit(m.Run())
	}
	raw, err := hex.DecodeString(program)
	if err == nil {
		err = install(raw)
	}
	if err == nil {
		err = children[name]()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// install puts all threads under a program.
func install(program []byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(program) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("install: %w", errno)
	}
	return nil
}

// work does what a worker does: threads, collections, files, sockets, timers.
func work() error {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			runtime.LockOSThread() // each takes a thread of its own
			time.Sleep(2 * time.Millisecond)
			_ = make([]byte, 1<<20)
		})
	}
	wg.Wait()
	runtime.GC()
	return errors.Join(useFiles(), useSockets())
}

func useFiles() error {
	dir := os.Getenv("SECCOMP_TEST_DIR")
	name := filepath.Join(dir, "a")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, werr := f.WriteAt([]byte("hello"), 100)
	buf := make([]byte, 5)
	_, rerr := f.ReadAt(buf, 100)
	_, serr := f.Seek(0, io.SeekEnd)
	_, staterr := os.Stat(name)
	_, direrr := os.ReadDir(dir)
	fd, openerr := unix.Openat2(unix.AT_FDCWD, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	return errors.Join(werr, rerr, serr, staterr, direrr, openerr, unix.Close(fd), f.Truncate(3), f.Sync(),
		os.Mkdir(name+"d", 0o700), os.Rename(name, name+"2"), os.Symlink("x", name+"l"), os.Link(name+"2", name+"h"),
		os.Chtimes(name+"2", time.Unix(1, 0), time.Unix(2, 0)), os.RemoveAll(dir))
}

func useSockets() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	buf := make([]byte, 4)
	_, err = io.ReadFull(c, buf)
	return err
}

func fork() error {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if errno == 0 {
		unix.Exit(0)
	}
	return errno
}

// run starts a child under a program.
func run(t *testing.T, name string, program []byte) (out string, state *os.ProcessState) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+name+" "+hex.EncodeToString(program), "SECCOMP_TEST_DIR="+t.TempDir(), "GOTRACEBACK=single")
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return buf.String(), cmd.ProcessState
}

func TestWorkRunsUnderTheKillingDefault(t *testing.T) {
	program, err := DefaultWith(DeniedKill)
	if err != nil {
		t.Fatal(err)
	}
	if out, state := run(t, "work", program); !state.Success() {
		t.Errorf("got %v, want success:\n%s", state, out)
	}
}

func TestForbiddenCallsFailOrKill(t *testing.T) {
	for _, name := range []string{"fork", "chmod", "exec", "alg"} {
		t.Run(name, func(t *testing.T) {
			program, err := Default()
			if err != nil {
				t.Fatal(err)
			}
			if out, state := run(t, name, program); state.ExitCode() != 1 || !strings.Contains(out, "operation not permitted") {
				t.Errorf("got %v, want EPERM:\n%s", state, out)
			}
			if program, err = DefaultWith(DeniedKill); err != nil {
				t.Fatal(err)
			}
			_, state := run(t, name, program)
			ws := state.Sys().(syscall.WaitStatus)
			if !ws.Signaled() || ws.Signal() != unix.SIGSYS {
				t.Errorf("got %v, want SIGSYS", state)
			}
		})
	}
}

func TestProfileOfTheKubernetesTutorialApplies(t *testing.T) {
	program, err := FromOCI([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod","fchmod","fchmodat"],"action":"SCMP_ACT_ERRNO"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if out, state := run(t, "chmod", program); state.ExitCode() != 1 || !strings.Contains(out, "operation not permitted") {
		t.Errorf("chmod: got %v, want EPERM:\n%s", state, out)
	}
	if out, state := run(t, "work", program); !state.Success() {
		t.Errorf("work: got %v, want success:\n%s", state, out)
	}
}

func TestAllowWorkerKeepsAWorkerAlive(t *testing.T) {
	profile := []byte(`{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ALLOW"}]}`)
	program, err := FromOCI(profile)
	if err != nil {
		t.Fatal(err)
	}
	if _, state := run(t, "nap", program); state.Success() {
		t.Error("without the option: got success, want the worker killed")
	}
	if program, err = FromOCI(profile, AllowWorker()); err != nil {
		t.Fatal(err)
	}
	if out, state := run(t, "nap", program); !state.Success() {
		t.Errorf("with the option: got %v, want success:\n%s", state, out)
	}
}

// pthreads is a program that installs a filter from stdin before it makes
// threads, as a worker's C library does.
const pthreads = `
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
static struct sock_filter code[4096];
static void *body(void *arg) { free(malloc(10 << 20)); return arg; }
int main(void) {
	ssize_t n = read(0, code, sizeof code);
	struct sock_fprog prog = { n / sizeof code[0], code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog)) return 2;
	pthread_t t[8];
	for (int i = 0; i < 8; i++) if (pthread_create(&t[i], 0, body, &t[i])) return 3;
	for (int i = 0; i < 8; i++) { void *r; if (pthread_join(t[i], &r) || r != &t[i]) return 4; }
	void *p = malloc(64 << 20); p = realloc(p, 128 << 20); free(p);
	return 0;
}`

func TestCLibraryMakesThreadsWithoutClone3(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("needs gcc to build a program that makes threads")
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "t.c"), filepath.Join(dir, "t")
	if err := os.WriteFile(src, []byte(pthreads), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-pthread", "-o", bin, src).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := DefaultWith(DeniedKill)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin)
	cmd.Stdin = bytes.NewReader(program)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("got %v, want success:\n%s", err, out)
	}
}
