package selinux

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/selinux/go-selinux"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// fake is a node with a policy of a few types.
type fake struct {
	off      bool
	self_    string
	noTypes  bool            // no lxc_contexts
	moves    string          // type of what the daemon executes; empty: as the daemon
	denied   map[string]bool // "class permission" that the policy does not allow
	next     int             // category
	levels   map[string]bool // reserved
	labelled map[string]string
	refuse   error // of relabelling
}

func newFake() *fake {
	return &fake{self_: "system_u:system_r:container_runtime_t:s0", moves: "spc_t", denied: map[string]bool{}, levels: map[string]bool{}, labelled: map[string]string{}}
}

func (f *fake) enabled() bool         { return !f.off }
func (f *fake) self() (string, error) { return f.self_, nil }

func (f *fake) labels(options []string) (process, mount string, err error) {
	if f.noTypes {
		return "", "", nil
	}
	c := selinux.Context{"user": "system_u", "role": "system_r", "type": "container_t"}
	for {
		f.next++
		if c["level"] = fmt.Sprintf("s0:c%d,c%d", f.next, f.next+500); !f.levels[c["level"]] {
			break
		}
	}
	m := selinux.Context{"user": "system_u", "role": "object_r", "type": "container_file_t"}
	for _, o := range options {
		key, value, _ := strings.Cut(o, ":")
		c[key] = value
	}
	m["level"] = c["level"]
	f.levels[c["level"]] = true
	return c.Get(), m.Get(), nil
}

func level(label string) string {
	c, err := selinux.NewContext(label)
	if err != nil {
		panic(err)
	}
	return c["level"]
}

func (f *fake) reserve(label string) error {
	if f.levels[level(label)] {
		return selinux.ErrMCSAlreadyExists
	}
	f.levels[level(label)] = true
	return nil
}

func (f *fake) release(label string) { delete(f.levels, level(label)) }

func (f *fake) check(label string) error {
	c, err := selinux.NewContext(label)
	if err != nil {
		return err
	}
	switch c["type"] {
	case "container_t", "spc_t", "container_file_t", "container_runtime_t":
		if strings.HasPrefix(c["level"], "s0") && !strings.HasPrefix(c["level"], "s0,") {
			return nil
		}
	}
	return unix.EINVAL
}

func (f *fake) transition(process, _ string) (string, error) {
	if f.moves == "" {
		return process, nil
	}
	c, err := selinux.NewContext(process)
	if err != nil {
		return "", err
	}
	c["type"] = f.moves
	return c.Get(), nil
}

func (f *fake) may(_ string, asks ...access) (bool, error) {
	for _, a := range asks {
		for _, p := range a.permissions {
			if f.denied[a.class+" "+p] {
				return false, nil
			}
		}
	}
	return true, nil
}

func (f *fake) relabel(path, label string) error {
	f.labelled[path] = label
	return f.refuse
}

func (f *fake) labelOf(string) (string, error)      { return "system_u:object_r:ptmx_t:s0", nil }
func (f *fake) label(file *os.File) (string, error) { return f.labelled[file.Name()], f.refuse }

func (f *fake) setLabel(file *os.File, label string) error { return f.relabel(file.Name(), label) }

func opened(t *testing.T, f *fake) *Labels {
	t.Helper()
	l, err := open(ModeOn, f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestNodesWithoutLabelsSayWhy(t *testing.T) {
	asked := sandbox.SELinuxOptions{Type: "spc_t", Level: "s0:c1,c2"}
	for name, tt := range map[string]struct {
		mode   Mode
		change func(*fake)
		why    string
	}{
		"no SELinux":           {ModeAuto, func(f *fake) { f.off = true }, "no SELinux"},
		"no types":             {ModeAuto, func(f *fake) { f.noTypes = true }, "install container-selinux"},
		"may not enter":        {ModeAuto, func(f *fake) { f.denied["process dyntransition"] = true }, "cri-wasmer.cil"},
		"may not change":       {ModeAuto, func(f *fake) { f.denied["process setcurrent"] = true }, "cri-wasmer.cil"},
		"may not use files":    {ModeAuto, func(f *fake) { f.denied["fd use"] = true }, "cri-wasmer.cil"},
		"may not use its tty":  {ModeAuto, func(f *fake) { f.denied["chr_file write"] = true }, "cri-wasmer.cil"},
		"may not execute":      {ModeAuto, func(f *fake) { f.denied["process execmem"] = true }, "execmem"},
		"is not to have them":  {ModeOff, func(*fake) {}, "option selinux.labels"},
		"off without SELinux":  {ModeOff, func(f *fake) { f.off = true }, "option selinux.labels"},
		"unknown own labels":   {ModeAuto, func(f *fake) { f.self_ = "a:b:c:s0"; f.denied["process setcurrent"] = true }, "a:b:c:s0"},
		"may not use its pipe": {ModeAuto, func(f *fake) { f.denied["fifo_file read"] = true }, "cri-wasmer.cil"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			tt.change(f)
			l, err := open(tt.mode, f, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if l.Why() == nil || !strings.Contains(l.Why().Error(), tt.why) {
				t.Errorf("Why is %v, want %q in it", l.Why(), tt.why)
			}
			if got, err := l.Pod(sandbox.SELinuxOptions{}); err != nil || got != (sandbox.Label{}) {
				t.Errorf("a pod that asks for nothing gets %v, %v", got, err)
			}
			_, err = l.Pod(asked)
			if !errors.Is(err, sandbox.ErrUnsupported) || !strings.Contains(err.Error(), "::spc_t:s0:c1,c2") || !strings.Contains(err.Error(), "securityContext.seLinuxOptions") {
				t.Errorf("a pod that asks for a label gets %v", err)
			}
			_, err = l.Container(sandbox.Label{}, asked, false)
			if !errors.Is(err, sandbox.ErrUnsupported) {
				t.Errorf("a container that asks for a label gets %v", err)
			}
			if tt.mode == ModeOff {
				return
			}
			if _, err := open(ModeOn, f, slog.New(slog.DiscardHandler)); !errors.Is(err, sandbox.ErrUnsupported) {
				t.Errorf("mode on gives %v", err)
			}
			if len(f.levels) > 0 {
				t.Errorf("levels stay reserved: %v", f.levels)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	type options = sandbox.SELinuxOptions
	for name, tt := range map[string]struct {
		pod, container options
		unconfined     bool
		moves          string
		denied         string
		process, mount string // PL: level of the pod
	}{
		"nothing asked":               {options{}, options{}, false, "spc_t", "", "system_u:system_r:container_t:PL", "system_u:object_r:container_file_t:PL"},
		"the pod's type":              {options{Type: "spc_t"}, options{}, false, "spc_t", "", "system_u:system_r:spc_t:PL", "system_u:object_r:container_file_t:PL"},
		"the container's level":       {options{}, options{Level: "s0:c1,c2"}, false, "spc_t", "", "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"},
		"the container's type":        {options{Level: "s0:c8"}, options{Type: "spc_t"}, false, "spc_t", "", "system_u:system_r:spc_t:s0:c8", "system_u:object_r:container_file_t:s0:c8"},
		"unconfined":                  {options{}, options{}, true, "spc_t", "", "system_u:system_r:spc_t:s0", "system_u:object_r:container_file_t:PL"},
		"unconfined with a level":     {options{}, options{Level: "s0:c7"}, true, "spc_t", "", "system_u:system_r:spc_t:s0:c7", "system_u:object_r:container_file_t:s0:c7"},
		"unconfined with a type":      {options{}, options{Type: "container_t"}, true, "spc_t", "", "system_u:system_r:container_t:PL", "system_u:object_r:container_file_t:PL"},
		"unconfined by an unconfined": {options{}, options{}, true, "", "", "system_u:system_r:spc_t:s0", "system_u:object_r:container_file_t:PL"},
		"with no way to it":           {options{}, options{}, true, "", "process dyntransition", "", "system_u:object_r:container_file_t:PL"},
		"with no such type":           {options{}, options{}, true, "no_such_t", "", "", "system_u:object_r:container_file_t:PL"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.moves = tt.moves
			l := opened(t, f)
			pod := must[sandbox.Label](t)(l.Pod(tt.pod))
			if tt.denied != "" {
				f.denied[tt.denied] = true
			}
			c := must[sandbox.Label](t)(l.Container(pod, tt.container, tt.unconfined))
			want := sandbox.Label{Process: strings.ReplaceAll(tt.process, "PL", level(pod.Mount)), Mount: strings.ReplaceAll(tt.mount, "PL", level(pod.Mount))}
			if c != want {
				t.Errorf("got %v, want %v", c, want)
			}
			l.Release(pod)
			if !f.levels[level(c.Mount)] {
				t.Error("the level of the container is free with the pod's")
			}
			l.Release(c)
			if len(f.levels) > 0 {
				t.Errorf("levels stay reserved: %v", f.levels)
			}
		})
	}
}

func TestUnknownLabelsAreRefused(t *testing.T) {
	f := newFake()
	l := opened(t, f)
	pod := must[sandbox.Label](t)(l.Pod(sandbox.SELinuxOptions{Level: "s0:c1"}))
	for name, o := range map[string]sandbox.SELinuxOptions{"type": {Type: "no_such_t"}, "level": {Level: "s0,c4,c5"}, "type at the pod's level": {Type: "no_such_t", Level: "s0:c1"}} {
		if _, err := l.Pod(o); !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), o.String()) {
			t.Errorf("%s: a pod gets %v", name, err)
		}
		if _, err := l.Container(pod, o, false); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%s: a container gets %v", name, err)
		}
		if _, err := l.Container(pod, o, true); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%s: an unconfined container gets %v", name, err)
		}
	}
	if len(f.levels) != 1 || !f.levels["s0:c1"] {
		t.Errorf("levels that are reserved: %v, want that of the pod", f.levels)
	}
}

// The policy may know a label and have no way to it.
func TestLabelsThatCannotBeEnteredAreRefused(t *testing.T) {
	f := newFake()
	l := opened(t, f)
	pod := must[sandbox.Label](t)(l.Pod(sandbox.SELinuxOptions{Level: "s0:c1"}))
	f.denied["process dyntransition"] = true
	for name, give := range map[string]func() (sandbox.Label, error){
		"pod":                   func() (sandbox.Label, error) { return l.Pod(sandbox.SELinuxOptions{Type: "spc_t"}) },
		"container":             func() (sandbox.Label, error) { return l.Container(pod, sandbox.SELinuxOptions{Type: "spc_t"}, false) },
		"unconfined with level": func() (sandbox.Label, error) { return l.Container(pod, sandbox.SELinuxOptions{Level: "s0:c7"}, true) },
	} {
		label, err := give()
		if !errors.Is(err, sandbox.ErrUnsupported) || !strings.Contains(err.Error(), ":spc_t:") || !strings.Contains(err.Error(), "cri-wasmer.cil") {
			t.Errorf("%s: got %v, %v", name, label, err)
		}
	}
	if len(f.levels) != 1 || !f.levels["s0:c1"] {
		t.Errorf("levels that are reserved: %v, want that of the pod", f.levels)
	}
}

func TestLevelsOfAnEarlierDaemonAreNotGivenAgain(t *testing.T) {
	f := newFake()
	l := opened(t, f)
	kept := sandbox.Label{Process: "system_u:system_r:container_t:s0:c2,c502", Mount: "system_u:object_r:container_file_t:s0:c2,c502"}
	for range 2 { // a pod and its container
		if err := l.Keep(kept); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Keep(sandbox.Label{}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if pod := must[sandbox.Label](t)(l.Pod(sandbox.SELinuxOptions{})); level(pod.Mount) == "s0:c2,c502" {
			t.Fatal("the level of the earlier pod is given again")
		}
	}
	l.Release(kept)
	if !f.levels["s0:c2,c502"] {
		t.Error("the level is free while its container is there")
	}
	l.Release(kept)
	if f.levels["s0:c2,c502"] {
		t.Error("the level is not free")
	}
}

// A pod that was made when there were no labels has files without them.
func TestPodsWithoutALabelStaySo(t *testing.T) {
	l := opened(t, newFake())
	if got, err := l.Container(sandbox.Label{}, sandbox.SELinuxOptions{}, true); err != nil || got != (sandbox.Label{}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFilesOfAContainer(t *testing.T) {
	f := newFake()
	l := opened(t, f)
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	const process, mount = "system_u:system_r:container_t:s0:c1", "system_u:object_r:container_file_t:s0:c1"
	label := sandbox.Label{Process: process, Mount: mount}
	real := must[string](t)(filepath.EvalSymlinks(dir))
	if err := l.Relabel(link, mount); err != nil || f.labelled[real] != mount {
		t.Errorf("relabel: %v, labels are %v", err, f.labelled)
	}
	if err := l.Relabel(filepath.Join(dir, "nothing"), mount); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("relabel nothing: %v", err)
	}
	if err := l.Relabel(filepath.Join(dir, "nothing"), ""); err != nil {
		t.Errorf("relabel without a label: %v", err)
	}
	log := must[*os.File](t)(os.Create(filepath.Join(dir, "log")))
	defer log.Close()
	f.labelled[log.Name()] = "system_u:object_r:container_log_t:s0"
	for _, step := range []struct {
		name   string
		change func()
		label  sandbox.Label
		want   string
	}{
		{"without a label", func() {}, sandbox.Label{}, "system_u:object_r:container_log_t:s0"},
		{"of an unconfined container", func() {}, sandbox.Label{Mount: mount}, "system_u:object_r:container_log_t:s0"},
		{"that it may append to", func() {}, label, "system_u:object_r:container_log_t:s0"},
		{"that it may not append to", func() { f.denied["file append"] = true }, label, mount},
	} {
		step.change()
		if err := l.OwnLog(log, step.label); err != nil || f.labelled[log.Name()] != step.want {
			t.Errorf("log %s: %v, its label is %q, want %q", step.name, err, f.labelled[log.Name()], step.want)
		}
	}
	for refusal, want := range map[error]error{unix.ENOTSUP: nil, unix.EACCES: unix.EACCES} {
		f.refuse = refusal
		for name, err := range map[string]error{"Own": l.Own(log, label), "OwnLog": l.OwnLog(log, label), "Relabel": l.Relabel(dir, mount)} {
			if !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), dir) {
				t.Errorf("%s where the filesystem says %v: %v", name, refusal, err)
			}
		}
	}
}
