package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

func TestFromOCI(t *testing.T) {
	eperm := fail(uint32(unix.EPERM))
	type want struct {
		name string
		args []uint64
		want action
	}
	tests := []struct {
		name    string
		profile string
		opts    []Option
		want    []want
	}{
		{"allow list", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"}]}`, nil,
			[]want{{"read", nil, allow}, {"write", nil, allow}, {"open", nil, eperm}}},
		{"error numbers", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5},{"names":["write"],"action":"SCMP_ACT_ERRNO","errno":"EACCES"}]}`, nil,
			[]want{{"open", nil, fail(38)}, {"read", nil, fail(5)}, {"write", nil, fail(13)}}},
		{"actions", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
			{"names":["read"],"action":"SCMP_ACT_KILL"},{"names":["write"],"action":"SCMP_ACT_KILL_PROCESS"},
			{"names":["open"],"action":"SCMP_ACT_TRAP"},{"names":["close"],"action":"SCMP_ACT_LOG"},
			{"names":["stat"],"action":"SCMP_ACT_TRACE","errnoRet":7}]}`, nil,
			[]want{{"read", nil, killThread}, {"write", nil, killProcess}, {"open", nil, trap}, {"close", nil, logAndAllow}, {"stat", nil, trace(7)}}},
		{"all conditions must hold", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
			{"index":0,"value":2,"op":"SCMP_CMP_EQ"},{"index":1,"value":1,"op":"SCMP_CMP_EQ"}]}]}`, nil,
			[]want{{"socket", []uint64{2, 1}, allow}, {"socket", []uint64{2, 2}, eperm}, {"socket", []uint64{1, 1}, eperm}}},
		{"conditions on one argument are alternatives", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[
			{"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}`, nil,
			[]want{{"personality", []uint64{0}, allow}, {"personality", []uint64{8}, allow}, {"personality", []uint64{4}, eperm}}},
		{"masked", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
			{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}`, nil,
			[]want{{"clone", []uint64{0x3d0f00}, allow}, {"clone", []uint64{unix.CLONE_NEWUSER}, eperm}}},
		{"condition goes before none, in any order", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW"},
			{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":97,"args":[{"index":0,"value":38,"op":"SCMP_CMP_EQ"}]}]}`, nil,
			[]want{{"socket", []uint64{38}, fail(97)}, {"socket", []uint64{2}, allow}}},
		{"names of other architectures", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[{"names":["arm_fadvise64_64","socketcall","not_yet_invented","read"],"action":"SCMP_ACT_ALLOW"}]}`, nil,
			[]want{{"read", nil, allow}}},
		{"capabilities, without", capsProfile, nil, []want{{"mount", nil, eperm}, {"clone3", nil, fail(38)}}},
		{"capabilities, with", capsProfile, []Option{WithCapabilities([]string{"sys_admin"})}, []want{{"mount", nil, allow}, {"clone3", nil, allow}}},
		{"old kernel", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}}]}`, nil,
			[]want{{"ptrace", nil, allow}, {"read", nil, eperm}}},
		{"architectures of entries", fmt.Sprintf(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":[]}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"arches":[%q]}},{"name":"write","action":"SCMP_ACT_ALLOW","args":null,"comment":"x","includes":{"arches":["s390x"]},"excludes":{}}]}`, runtime.GOARCH), nil,
			[]want{{"read", nil, allow}, {"write", nil, eperm}}},
		{"worker's calls", `{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"names":["futex"],"action":"SCMP_ACT_ERRNO"}]}`, []Option{AllowWorker()},
			[]want{{"futex", nil, allow}, {"clone", []uint64{threadFlags}, allow}, {"clone", []uint64{17}, killThread}, {"socket", []uint64{2}, killThread}, {"prctl", []uint64{unix.PR_SET_VMA}, allow}}},
		{"worker's reports", `{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"names":["sendto","accept4"],"action":"SCMP_ACT_ERRNO"}]}`, []Option{AllowWorker()},
			[]want{{"sendto", []uint64{3, 1, 1, unix.MSG_NOSIGNAL, 0}, allow}, {"sendto", []uint64{3, 1, 1, unix.MSG_NOSIGNAL, 1}, eperm}, {"sendto", []uint64{3, 1, 1, 0, 0}, eperm},
				{"accept4", []uint64{workerv1.FDControl}, allow}, {"accept4", []uint64{workerv1.FDFirstFree}, eperm}, {"sendmsg", []uint64{3}, killThread},
				{"recvmsg", []uint64{9, 1, unix.MSG_CMSG_CLOEXEC}, allow}, {"recvmsg", []uint64{9, 1, 0}, killThread}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			program, err := FromOCI([]byte(tt.profile), tt.opts...)
			if err != nil {
				t.Fatal(err)
			}
			do := simulate(t, program)
			for _, w := range tt.want {
				if got := do(w.name, w.args...); got != w.want {
					t.Errorf("%s%#x: got %#x, want %#x", w.name, w.args, got, w.want)
				}
			}
		})
	}
}

const capsProfile = `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
	{"names":["mount","clone3"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
	{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`

func TestFromOCIRefuses(t *testing.T) {
	rule := func(s string) string {
		return `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[` + s + `]}`
	}
	tests := []struct{ name, profile, field string }{
		{"no json", `defaultAction`, "file"},
		{"two documents", `{"defaultAction":"SCMP_ACT_ALLOW"} {}`, "file"},
		{"unknown field", `{"defaultAction":"SCMP_ACT_ALLOW","syscals":[]}`, "file"},
		{"no default", `{"syscalls":[]}`, "defaultAction"},
		{"unknown default", `{"defaultAction":"ALLOW"}`, "defaultAction"},
		{"notify", `{"defaultAction":"SCMP_ACT_NOTIFY"}`, "defaultAction"},
		{"listener", `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x"}`, "listenerPath"},
		{"unknown flag", `{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}`, "flags"},
		{"unknown architecture", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["amd64"]}`, "architectures"},
		{"unknown action", rule(`{"names":["read"],"action":"DENY"}`), "syscalls[0].action"},
		{"no names", rule(`{"action":"SCMP_ACT_ERRNO"}`), "syscalls[0].names"},
		{"name and names", rule(`{"name":"read","names":["read"],"action":"SCMP_ACT_ERRNO"}`), "syscalls[0].name"},
		{"unknown name that should stop", rule(`{"names":["fchmodatt"],"action":"SCMP_ACT_ERRNO"}`), "syscalls[0]"},
		{"huge error number", rule(`{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5000}`), "syscalls[0].action"},
		{"unknown error name", rule(`{"names":["read"],"action":"SCMP_ACT_ERRNO","errno":"EFOO"}`), "syscalls[0].errno"},
		{"error number of allow", rule(`{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":1}`), "syscalls[0].action"},
		{"argument 6", rule(`{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}`), "syscalls[0].args[0].index"},
		{"unknown operator", rule(`{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":0,"op":"=="}]}`), "syscalls[0].args[0].op"},
		{"contradiction", rule(`{"names":["read"],"action":"SCMP_ACT_ERRNO"},{"names":["read"],"action":"SCMP_ACT_KILL"}`), "syscalls[1]"},
		{"bad kernel", rule(`{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"new"}}`), "syscalls[0].includes.minKernel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FromOCI([]byte(tt.profile))
			var e *ProfileError
			if !errors.As(err, &e) || e.Field != tt.field {
				t.Errorf("got %v, want an error about %s", err, tt.field)
			}
		})
	}
}

func TestDenies(t *testing.T) {
	program, err := FromOCI([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["futex","clone3","chmod"],"action":"SCMP_ACT_ERRNO"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Denies(program)
	if want := []string{"futex", "clone"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := Denies([]byte("short")); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("got %v, want an error about 5 bytes", err)
	}
}

func FuzzFromOCI(f *testing.F) {
	f.Add([]byte(capsProfile))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_NE"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		program, err := FromOCI(data)
		if err != nil {
			if !errors.As(err, new(*ProfileError)) {
				t.Errorf("got %v, want a ProfileError", err)
			}
			return
		}
		if _, err := Denies(program); err != nil {
			t.Errorf("program that does not run: %v", err)
		}
	})
}
