package sandbox

import (
	"context"
	"errors"
	"fmt"
)

// Labels gives pods and containers SELinux labels. Where the node has none, they
// are empty, and who asks for one is refused. Safe for concurrent use.
type Labels interface {
	// Pod gives the label of a pod, whose files no other pod can use. The error
	// is of kind ErrUnsupported on a node without labels, or with a policy that
	// lets no process have this one, and of kind ErrInvalid for one that its
	// policy does not know.
	Pod(options SELinuxOptions) (Label, error)
	// Container gives that of a container in a pod; unconfined is one that may
	// do on the node what this daemon may. Errors as of Pod.
	Container(pod Label, options SELinuxOptions, unconfined bool) (Label, error)
	// Keep takes note of a label that Pod or Container of an earlier daemon gave.
	Keep(label Label) error
	// Release gives up what Pod, Container or Keep gave.
	Release(label Label)
	// Relabel makes the files at and below path those of a container.
	Relabel(path, mount string) error
}

// SELinuxOptions are the parts of a label that a request names.
type SELinuxOptions struct {
	User  string `json:"user,omitempty"`
	Role  string `json:"role,omitempty"`
	Type  string `json:"type,omitempty"`
	Level string `json:"level,omitempty"`
}

func (o SELinuxOptions) String() string {
	return o.User + ":" + o.Role + ":" + o.Type + ":" + o.Level
}

// Label is by what SELinux knows a container.
type Label struct {
	Process string `json:"process,omitempty"` // of its processes; empty: as the daemon's
	Mount   string `json:"mount,omitempty"`   // of its files; empty: as they are
}

// LabelledMount adds the label of all files of a filesystem to the options with
// which mount(2) makes it. It is quoted, since there are commas in it.
func LabelledMount(options, label string) string {
	if label == "" {
		return options
	}
	return fmt.Sprintf("%s,context=%q", options, label)
}

// label gives the container its label. Whoever sees the processes of the host, or
// shares memory with them, cannot be kept apart from them by a label.
func (b *creation) label(context.Context) error {
	s := &b.rec.Config.Security
	unconfined := s.Privileged || s.Namespaces.PID == NamespaceNode || s.Namespaces.IPC == NamespaceNode
	label, err := b.m.Labels.Container(b.pod.Label, s.SELinux, unconfined)
	if err != nil {
		return err
	}
	b.undo.Push(func(context.Context) error { b.m.Labels.Release(label); return nil })
	b.rec.Label = label
	return nil
}

// relabel gives the volumes that want it the label of the container.
func (b *creation) relabel(context.Context) error {
	for i := range b.rec.Config.Mounts {
		mt := &b.rec.Config.Mounts[i]
		if !mt.SelinuxRelabel || mt.Image != "" {
			continue
		}
		if b.rec.Label.Mount == "" {
			b.m.Logger.Debug("selinux_relabel is ignored, as the container has no label", "container", b.rec.ID, "mount", mt.ContainerPath)
			continue
		}
		if err := b.m.Labels.Relabel(mt.HostPath, b.rec.Label.Mount); err != nil {
			return err
		}
	}
	return nil
}

// keepLabels takes note of the labels of what an earlier daemon left.
func (m *Manager) keepLabels() error {
	var errs []error
	for _, p := range m.pods {
		errs = append(errs, m.Labels.Keep(p.rec.Label))
	}
	for _, c := range m.containers {
		errs = append(errs, m.Labels.Keep(c.rec.Label))
	}
	return errors.Join(errs...)
}
