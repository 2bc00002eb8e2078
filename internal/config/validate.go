package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// maxSocketPath is what fits a sockaddr_un with its closing zero.
const maxSocketPath = 107

// validate checks what concerns more than one option, or more than its form.
func (c *Config) validate() error {
	var errs []error
	bad := func(option, format string, args ...any) {
		errs = append(errs, &Error{Option: option, Source: c.Sources[option], Value: c.text(option), Err: fmt.Errorf(format, args...)})
	}
	if len(c.Socket) > maxSocketPath {
		bad("socket", "a socket path has at most %d bytes, this one %d", maxSocketPath, len(c.Socket))
	}
	if strings.HasSuffix(c.Socket, "run/crio/crio.sock") {
		bad("socket", "the kubelet takes a path that ends in run/crio/crio.sock for another runtime: choose another")
	}
	if within(c.Root, c.State) || within(c.State, c.Root) {
		bad("state", "root (%s) and state must be apart: a reboot may end one and not the other", c.Root)
	}
	if len(c.CNI.Subnets) == 0 && c.CNI.Bundled {
		bad("cni.subnets", "the bundled network needs a subnet; to do without that network, set cni.bundled to false")
	}
	if c.Compile.Memory < 256<<20 {
		bad("compile.memory", "the compiler needs 256MiB at least")
	}
	if (c.Stream.TLSCert == "") != (c.Stream.TLSKey == "") {
		bad("stream.tls_cert", "a certificate needs its key and a key its certificate: set stream.tls_cert and stream.tls_key, or neither")
	}
	if err := checkParent(c.Cgroup); err != nil {
		bad("cgroup.parent", "%w", err)
	}
	return errors.Join(errs...)
}

// text is the current value of an option.
func (c *Config) text(name string) string {
	for _, opt := range table {
		if opt.Name() == name {
			return opt.value(&c.Options).text()
		}
	}
	return ""
}

// within says whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// checkParent wants a path for cgroupfs and a slice for systemd.
func checkParent(g Cgroup) error {
	slice := strings.HasSuffix(g.Parent, ".slice") && !strings.Contains(g.Parent, "/")
	switch {
	case g.Parent == "":
		return nil
	case g.Driver == "systemd" && !slice:
		return errors.New("with the driver systemd, want the name of a slice, such as pods.slice")
	case g.Driver == "cgroupfs" && slice:
		return errors.New("with the driver cgroupfs, want a path, such as /pods")
	case !slice && !strings.HasPrefix(g.Parent, "/"):
		return errors.New("want a path, such as /pods, or a slice, such as pods.slice")
	}
	return nil
}
