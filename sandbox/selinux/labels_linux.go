// Package selinux gives pods and containers their SELinux labels: to processes,
// which enter theirs on their way into the sandbox, and to files. The types are
// those that the policy of the node has for containers, in its lxc_contexts; each
// pod has a pair of categories of its own, which keeps it from the files of others.
package selinux

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/selinux/go-selinux"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Mode says whether pods are labelled.
type Mode string

const (
	ModeAuto Mode = "auto" // where the node has SELinux and its policy permits it
	ModeOn   Mode = "on"   // or the daemon does not start
	ModeOff  Mode = "off"
)

// Labels implements sandbox.Labels. It is safe for concurrent use; there is one
// of it in a process, since the library knows the levels in use by itself.
type Labels struct {
	host host
	self string // label of this daemon, which its workers inherit
	why  error  // why pods are not labelled; nil: they are

	mu     sync.Mutex
	levels map[string]int // how many hold each level
}

var _ sandbox.Labels = (*Labels)(nil)

// New looks what the node has. The error, of kind sandbox.ErrUnsupported, is why
// mode ModeOn is not possible.
func New(mode Mode, log *slog.Logger) (*Labels, error) { return open(mode, node{}, log) }

func open(mode Mode, h host, log *slog.Logger) (*Labels, error) {
	l := &Labels{host: h, levels: map[string]int{}}
	l.why = l.probe()
	if errors.Is(l.why, errExecute) {
		log.Error("no module can run", "why", l.why)
	}
	if mode == ModeOff {
		l.why = errors.New("the option selinux.labels of this server is off")
		return l, nil
	}
	if l.why == nil {
		log.Info("pods have SELinux labels", "daemon", l.self)
		return l, nil
	}
	if mode == ModeOn {
		return nil, fmt.Errorf("option selinux.labels is on: %w: %w", l.why, sandbox.ErrUnsupported)
	}
	if h.enabled() {
		log.Warn("pods have no SELinux labels", "why", l.why)
	}
	return l, nil
}

const remedy = "load the module cri-wasmer.cil and restart this server"

// errExecute is worse than that pods have no labels.
var errExecute = errors.New("execute what they compile")

// probe says why pods cannot have labels.
func (l *Labels) probe() (err error) {
	if !l.host.enabled() {
		return errors.New("this node has no SELinux")
	}
	if l.self, err = l.host.self(); err != nil {
		return fmt.Errorf("read the SELinux label of this server: %w", err)
	}
	may, err := l.host.may(l.self, access{l.self, "process", []string{"execmem"}})
	if err != nil {
		return fmt.Errorf("ask the SELinux policy of this node: %w", err)
	}
	if !may {
		return fmt.Errorf("the SELinux policy of this node does not let processes of %s %w (execmem): %s", l.self, errExecute, remedy)
	}
	process, mount, err := l.host.labels(nil)
	if err != nil {
		return fmt.Errorf("read the SELinux labels of containers: %w", err)
	}
	if process == "" || mount == "" {
		return errors.New("the SELinux policy of this node has no labels for containers (lxc_contexts): install container-selinux")
	}
	defer l.host.release(process)
	if err := l.host.check(process); err != nil {
		return fmt.Errorf("the SELinux policy of this node does not know its own label for containers, %s: %w", process, err)
	}
	if may, err = l.mayHand(process); err != nil {
		return fmt.Errorf("ask the SELinux policy of this node: %w", err)
	}
	if !may {
		return fmt.Errorf("%w: %s", l.forbidden(process), remedy)
	}
	return nil
}

// mayHand says whether a process of ours can become one of this label and use what
// was opened for it.
func (l *Labels) mayHand(process string) (bool, error) {
	may, err := l.host.may(l.self,
		access{l.self, "process", []string{"setcurrent"}},
		access{process, "process", []string{"dyntransition"}})
	if err != nil || !may {
		return may, err
	}
	terminals, err := l.host.labelOf("/dev/ptmx")
	if err != nil {
		return false, err
	}
	return l.host.may(process,
		access{terminals, "chr_file", []string{"read", "write"}},
		access{l.self, "fd", []string{"use"}},
		access{l.self, "fifo_file", []string{"read", "write"}},
		access{l.self, "unix_stream_socket", []string{"accept", "read", "write", "getopt"}})
}

// Why is nil where pods have labels, and else the reason.
func (l *Labels) Why() error { return l.why }

// Pod gives a pod its label: what options do not name is that of all containers
// of the node, with a level of its own.
func (l *Labels) Pod(options sandbox.SELinuxOptions) (sandbox.Label, error) {
	return l.hold(nil, options, false)
}

// Container gives the label of a container of a pod. What options do not name is
// the pod's. One that is not to be confined gets what a program of its image would
// have that this daemon executed, unless options name a type.
func (l *Labels) Container(pod sandbox.Label, options sandbox.SELinuxOptions, unconfined bool) (sandbox.Label, error) {
	if pod == (sandbox.Label{}) && options == (sandbox.SELinuxOptions{}) {
		return pod, nil // made when pods had none: its files have none either
	}
	return l.hold(&pod, options, unconfined && options.Type == "")
}

// hold makes a label and counts it. pod is nil for that of a pod.
func (l *Labels) hold(pod *sandbox.Label, options sandbox.SELinuxOptions, unconfined bool) (sandbox.Label, error) {
	if l.why != nil {
		if options == (sandbox.SELinuxOptions{}) {
			return sandbox.Label{}, nil
		}
		return sandbox.Label{}, fmt.Errorf("SELinux label %q: %w: remove securityContext.seLinuxOptions from the pod and its containers, "+
			"or run the pod where it can have them: %w", options, l.why, sandbox.ErrUnsupported)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	label, err := l.make(pod, options)
	if err != nil {
		return label, fmt.Errorf("SELinux label %q: %w", options, err)
	}
	l.count(label, 1)
	if unconfined {
		label.Process, err = l.unconfined(label, options)
	} else if options != (sandbox.SELinuxOptions{}) { // else it was asked at the start
		err = l.enterable(label.Process)
	}
	if err != nil {
		l.count(label, -1)
		return sandbox.Label{}, fmt.Errorf("SELinux label %q: %w", options, err)
	}
	return label, nil
}

// enterable refuses a label that processes of this daemon cannot have.
func (l *Labels) enterable(process string) error {
	may, err := l.mayHand(process)
	if err != nil {
		return fmt.Errorf("ask the SELinux policy of this node: %w", err)
	}
	if !may {
		return fmt.Errorf("%w: name another type in securityContext.seLinuxOptions, or permit it as the module cri-wasmer.cil does for types of containers: %w",
			l.forbidden(process), sandbox.ErrUnsupported)
	}
	return nil
}

func (l *Labels) forbidden(process string) error {
	return fmt.Errorf("the SELinux policy of this node does not let processes of %s become %s and keep what they have open", l.self, process)
}

// make gives a label whose level is reserved. The caller holds mu.
func (l *Labels) make(pod *sandbox.Label, options sandbox.SELinuxOptions) (sandbox.Label, error) {
	var list []string
	if pod != nil {
		own, err := selinux.DupSecOpt(pod.Process)
		if err != nil {
			return sandbox.Label{}, err
		}
		list = own
	}
	for _, o := range []struct{ key, value string }{{"user", options.User}, {"role", options.Role}, {"type", options.Type}, {"level", options.Level}} {
		if o.value != "" {
			list = append(list, o.key+":"+o.value)
		}
	}
	process, mount, err := l.host.labels(list)
	if err != nil {
		return sandbox.Label{}, fmt.Errorf("%w: %w", err, sandbox.ErrInvalid)
	}
	label := sandbox.Label{Process: process, Mount: mount}
	for _, text := range []string{process, mount} {
		if err := l.host.check(text); err != nil {
			if l.levels[levelOf(label)] == 0 {
				l.host.release(mount)
			}
			return sandbox.Label{}, fmt.Errorf("the SELinux policy of this node does not know %s: %w: %w", text, err, sandbox.ErrInvalid)
		}
	}
	return label, nil
}

// superPrivileged is the type that policies have for containers that they do not
// confine.
const superPrivileged = "spc_t"

// unconfined is what the policy makes of a program with the label of the
// container's files when this daemon executes it. Where that stays as the daemon,
// which runs unconfined then, it is the type for such containers, if there is one;
// empty: none, and the process stays as the daemon. What options name must be
// possible.
func (l *Labels) unconfined(label sandbox.Label, options sandbox.SELinuxOptions) (string, error) {
	text, err := l.host.transition(l.self, label.Mount)
	if err != nil {
		return "", err
	}
	c, err := selinux.NewContext(text)
	if err != nil {
		return "", err
	}
	if text == l.self {
		own, err := selinux.NewContext(label.Process)
		if err != nil {
			return "", err
		}
		c["user"], c["role"], c["type"] = own["user"], own["role"], superPrivileged
	}
	for key, value := range map[string]string{"user": options.User, "role": options.Role, "level": options.Level} {
		if value != "" {
			c[key] = value
		}
	}
	text = c.Get()
	if err = l.host.check(text); err != nil {
		err = fmt.Errorf("the SELinux policy of this node does not know %s: %w: %w", text, err, sandbox.ErrInvalid)
	} else {
		err = l.enterable(text)
	}
	switch {
	case err == nil:
		return text, nil
	case options == (sandbox.SELinuxOptions{}) && (errors.Is(err, sandbox.ErrInvalid) || errors.Is(err, sandbox.ErrUnsupported)):
		return "", nil
	}
	return "", err
}

// Keep counts a label that an earlier daemon gave.
func (l *Labels) Keep(label sandbox.Label) error {
	if label.Mount == "" || l.why != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.host.reserve(label.Mount); err != nil && !errors.Is(err, selinux.ErrMCSAlreadyExists) {
		return fmt.Errorf("keep SELinux label %s: %w", label.Mount, err)
	}
	l.count(label, 1)
	return nil
}

// Release gives a label up: its level is free for another pod when nobody holds
// it any more.
func (l *Labels) Release(label sandbox.Label) {
	if label.Mount == "" || l.why != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(label, -1)
}

// count changes how many hold the level of a label. The caller holds mu.
func (l *Labels) count(label sandbox.Label, by int) {
	level := levelOf(label)
	if l.levels[level] += by; l.levels[level] <= 0 {
		delete(l.levels, level)
		l.host.release(label.Mount)
	}
}

// levelOf is that of the files, which is the level of the pod also where a
// process is unconfined.
func levelOf(label sandbox.Label) string {
	c, err := selinux.NewContext(label.Mount)
	if err != nil {
		return ""
	}
	return c["level"]
}

// Relabel gives a file, or a directory and all that is in it, the label of the
// files of a container. Links in the path are followed, those below it are not.
// Filesystems that keep no labels are left as they are.
func (l *Labels) Relabel(path, mount string) error {
	if mount == "" {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("relabel for SELinux: %w", err)
	}
	if err := l.host.relabel(real, mount); err != nil && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("relabel %s for SELinux with %s: %w", real, mount, err)
	}
	return nil
}

// Own makes a file of this daemon's one of a container, whose processes may use no
// others. On a filesystem that keeps no labels it stays as it is.
func (l *Labels) Own(f *os.File, label sandbox.Label) error {
	if label.Process == "" || label.Mount == "" {
		return nil
	}
	if err := l.host.setLabel(f, label.Mount); err != nil && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("label %s for SELinux with %s: %w", f.Name(), label.Mount, err)
	}
	return nil
}

// OwnLog is Own for a log. It keeps the label that the policy has for logs, by
// which collectors may read it, if the container may write to such.
func (l *Labels) OwnLog(f *os.File, label sandbox.Label) error {
	if label.Process == "" || label.Mount == "" {
		return nil
	}
	is, err := l.host.label(f)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the SELinux label of %s: %w", f.Name(), err)
	}
	may, err := l.host.may(label.Process, access{is, "file", []string{"append", "getattr"}})
	if err != nil {
		return fmt.Errorf("ask the SELinux policy of this node: %w", err)
	}
	if may {
		return nil
	}
	return l.Own(f, label)
}
