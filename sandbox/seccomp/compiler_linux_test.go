package seccomp

import "testing"

func TestCompilerIsAlone(t *testing.T) {
	p, err := Compiler()
	if err != nil {
		t.Fatal(err)
	}
	decide := simulate(t, p)
	for name, want := range map[string]bool{
		"mmap": true, "pwrite64": true, "futex": true, "clone": true, "exit_group": true,
		"openat": false, "open": false, "openat2": false, "socket": false, "connect": false, "execve": false, "execveat": false,
		"ptrace": false, "fork": false, "kill": false, "unlinkat": false, "mount": false, "setns": false, "io_uring_setup": false,
		"bpf": false, "memfd_create": false, "sendmsg": false, "ioctl": false, "keyctl": false, "userfaultfd": false,
	} {
		flags := uint64(0)
		if name == "clone" {
			flags = thread
		}
		if got := decide(name, flags) == allow; got != want {
			t.Errorf("%s is allowed: %v, want %v", name, got, want)
		}
	}
}
