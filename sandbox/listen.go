package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
)

// ListenSocket is a socket that a guest finds open.
type ListenSocket struct {
	Network string      `json:"network"`           // tcp, udp or unix
	Addr    netip.Addr  `json:"addr,omitzero"`     // of tcp and udp; zero: every one of the pod, of both families
	Port    uint16      `json:"port,omitempty"`    // of tcp and udp
	Path    string      `json:"path,omitempty"`    // of unix: in the container's root filesystem
	Mode    fs.FileMode `json:"mode,omitempty"`    // of unix: the permissions of the file
	Backlog int         `json:"backlog,omitempty"` // of tcp and unix: connections that wait to be accepted
	Name    string      `json:"name"`              // in LISTEN_FDNAMES
}

func (s ListenSocket) String() string {
	switch {
	case s.Network == "unix":
		return "unix://" + s.Path
	case !s.Addr.IsValid():
		return fmt.Sprintf("%s://:%d", s.Network, s.Port)
	}
	return s.Network + "://" + netip.AddrPortFrom(s.Addr, s.Port).String()
}

// Listeners opens sockets for guests. Safe for concurrent use.
type Listeners interface {
	// Listen makes a socket in the network namespace at the path netns (empty:
	// the host's), binds it and, but for udp, listens. Reads and accepts do not
	// block. Paths are resolved beneath root, and belong to owner, whose ids are
	// those of the host. The caller closes the file.
	Listen(ctx context.Context, netns string, root *os.File, owner User, s ListenSocket) (*os.File, error)
}

const (
	maxListen      = 32
	defaultBacklog = 4096 // as net.core.somaxconn has it
	defaultMode    = 0o777
)

// parseListen reads the value of the annotation "listen": sockets separated by
// commas or line breaks, each an address with options behind it.
//
//	tcp://[HOST]:PORT [backlog=N] [name=NAME]
//	udp://[HOST]:PORT [name=NAME]
//	unix:///PATH [mode=OCTAL] [backlog=N] [name=NAME]
func parseListen(value string) ([]ListenSocket, error) {
	var list []ListenSocket
	for entry := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == '\n' }) {
		words := strings.Fields(entry)
		if len(words) == 0 {
			continue
		}
		s, err := parseSocket(words[0], words[1:])
		if err != nil {
			return nil, fmt.Errorf("socket %q: %w", strings.TrimSpace(entry), err)
		}
		list = append(list, s)
	}
	switch {
	case len(list) == 0:
		return nil, errors.New("value names no socket")
	case len(list) > maxListen:
		return nil, fmt.Errorf("value names %d sockets, more than %d", len(list), maxListen)
	}
	return list, nil
}

func parseSocket(address string, options []string) (ListenSocket, error) {
	network, rest, ok := strings.Cut(address, "://")
	s := ListenSocket{Network: network}
	var err error
	switch {
	case ok && (network == "tcp" || network == "udp"):
		if s.Addr, s.Port, err = parseAddrPort(rest); err != nil {
			return s, err
		}
		s.Name = fmt.Sprintf("%s-%d", network, s.Port)
	case ok && network == "unix":
		if !path.IsAbs(rest) || path.Clean(rest) != rest || rest == "/" {
			return s, fmt.Errorf("%q is no clean absolute path: want unix:///run/app.sock", rest)
		}
		s.Path, s.Mode, s.Name = rest, defaultMode, "unix"
	default:
		return s, errors.New("want tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH")
	}
	if network != "udp" {
		s.Backlog = defaultBacklog
	}
	for _, o := range options {
		if err := s.option(o); err != nil {
			return s, err
		}
	}
	return s, nil
}

// parseAddrPort reads :8080, 127.0.0.1:8080 or [::1]:8080.
func parseAddrPort(s string) (netip.Addr, uint16, error) {
	host, port, ok := cutLast(s, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || n == 0 {
		return netip.Addr{}, 0, fmt.Errorf("%q has no port from 1 to 65535", s)
	}
	if host == "" {
		return netip.Addr{}, uint16(n), nil
	}
	addr, err := netip.ParseAddrPort(s)
	if err != nil || addr.Addr().Zone() != "" {
		return netip.Addr{}, 0, fmt.Errorf("%q: the host must be an IP address, an IPv6 one in brackets, or empty for every address of the pod", s)
	}
	return addr.Addr().Unmap(), addr.Port(), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (s *ListenSocket) option(o string) error {
	key, value, _ := strings.Cut(o, "=")
	switch {
	case key == "name":
		if !validName(value) {
			return fmt.Errorf("option name=%s: want letters, digits, '-', '_' and '.'", value)
		}
		s.Name = value
	case key == "backlog" && s.Network != "udp":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("option backlog=%s: want a number from 1 to 65535", value)
		}
		s.Backlog = int(n)
	case key == "mode" && s.Network == "unix":
		n, err := strconv.ParseUint(value, 8, 9)
		if err != nil {
			return fmt.Errorf("option mode=%s: want permissions in octal, such as 0660", value)
		}
		s.Mode = fs.FileMode(n)
	default:
		return fmt.Errorf("option %q: tcp has backlog and name, udp has name, unix has mode, backlog and name", o)
	}
	return nil
}

func validName(s string) bool {
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// openListeners opens the sockets of a container that starts; the caller closes
// them once the worker has its own.
func (m *Manager) openListeners(ctx context.Context, spec *ProcessSpec, users *UserNS, sockets []ListenSocket) (files []*os.File, err error) {
	owner := spec.User
	owner.UID, _ = users.HostUID(owner.UID) // mapped, or Create would have refused it
	owner.GID, _ = users.HostGID(owner.GID)
	for _, s := range sockets {
		if err = mayListen(spec, s); err != nil {
			break
		}
		var f *os.File
		if f, err = m.Listeners.Listen(ctx, spec.NetNS, spec.Root.Dir, owner, s); err != nil {
			err = fmt.Errorf("listen at %s: %w: %w", s, err, ErrPrecondition)
			break
		}
		files = append(files, f)
	}
	if err != nil {
		return nil, errors.Join(err, closeFiles(files))
	}
	return files, nil
}

// mayListen keeps a pod of the host's network from ports that its container
// could not take by itself. A network of its own, a pod may use as it likes.
func mayListen(spec *ProcessSpec, s ListenSocket) error {
	const netBindService, firstFree = 10, 1024
	if spec.NetNS != "" || s.Network == "unix" || s.Port >= firstFree || spec.Caps.Permitted>>netBindService&1 != 0 {
		return nil
	}
	return fmt.Errorf("listen at %s: a port below %d of the host's network needs the capability NET_BIND_SERVICE: %w", s, firstFree, ErrInvalid)
}

func closeFiles(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// listenEnv tells a guest of its sockets as systemd tells a service, but for the
// number of the first, which only the worker knows, and its process id.
func listenEnv(env []EnvVar, sockets []ListenSocket) []EnvVar {
	if len(sockets) == 0 {
		return env
	}
	names := make([]string, len(sockets))
	for i, s := range sockets {
		names[i] = s.Name
	}
	e := newEnvironment()
	for _, kv := range env {
		e.add(kv.Key, kv.Value)
	}
	e.add("LISTEN_FDS", strconv.AppendInt(nil, int64(len(sockets)), 10))
	e.add("LISTEN_FDNAMES", []byte(strings.Join(names, ":")))
	return e.list
}
