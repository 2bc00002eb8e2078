package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

func (d *Doctor) rights(context.Context) {
	if os.Geteuid() != 0 {
		d.warn("run it with sudo", "not root: much cannot be looked at, and what follows may be wrong")
		return
	}
	d.ok("root")
}

func (d *Doctor) cpu(context.Context) {
	if runtime.GOARCH != "amd64" {
		d.problem("use a node with an x86-64 CPU", "the CPU is %s: there is no engine for it", runtime.GOARCH)
		return
	}
	d.ok("x86-64, %d CPUs", runtime.NumCPU())
}

// feature is something that the kernel has or lacks.
type feature struct {
	name   string
	probe  func() error // nil: it is there
	since  string
	needed string // what for; empty: for everything
}

var features = []feature{
	{"openat2", probeOpenat2, "5.6", ""},
	{"pidfd_open", probePidfd, "5.3", ""},
	{"mount_setattr", probeMountSetattr, "5.12", ""},
	{"fsopen of overlay", probeOverlay, "5.2, module overlay", ""},
	{"memfd_create with seals", probeMemfd, "3.17", ""},
	{"seccomp filters", probeSeccomp, "3.5, CONFIG_SECCOMP_FILTER", ""},
}

func (d *Doctor) kernel(context.Context) {
	var u unix.Utsname
	release := "of unknown release"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	var have []string
	for _, f := range features {
		if err := f.probe(); err != nil {
			d.problem("use a kernel since "+f.since, "Linux %s lacks %s: %v", release, f.name, err)
			continue
		}
		have = append(have, f.name)
	}
	d.ok("Linux %s with %s", release, strings.Join(have, ", "))
	if err := probeIDMap(); err != nil {
		d.note("no mounts with mapped ids (%v): pods with a user namespace of their own cannot run", err)
	} else {
		d.ok("mounts with mapped ids, for pods with a user namespace")
	}
}

func probeOpenat2() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func probePidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func probeMountSetattr() error {
	if err := unix.MountSetattr(-1, "", 0, &unix.MountAttr{}); errors.Is(err, unix.ENOSYS) {
		return err
	}
	return nil
}

func probeOverlay() error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func probeMemfd() error {
	fd, err := unix.MemfdCreate("doctor", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// probeSeccomp offers no filter at all: a kernel that takes filters finds the
// address bad, one that takes none the mode.
func probeSeccomp() error {
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil
	}
	return err
}

// probeIDMap asks for a mapping by a descriptor that is none: a kernel that
// knows the attribute finds the descriptor bad.
func probeIDMap() error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: 1 << 30})
	if err == nil || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}

func (d *Doctor) namespaces(context.Context) {
	var have []string
	for _, ns := range []struct {
		name string
		flag int
	}{
		{"mount", unix.CLONE_NEWNS}, {"network", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID}, {"ipc", unix.CLONE_NEWIPC},
		{"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP},
	} {
		if err := inNamespaces(ns.flag, func() error { return nil }); err != nil {
			d.problem("run as root, outside of a restricted container", "no new %s namespace can be made: %v", ns.name, err)
			continue
		}
		have = append(have, ns.name)
	}
	d.ok("new namespaces: %s", strings.Join(have, ", "))
	limit, err := os.ReadFile(filepath.Join(d.Host.Proc, "sys/user/max_user_namespaces"))
	if err != nil || strings.TrimSpace(string(limit)) == "0" {
		d.note("user namespaces are off (sysctl user.max_user_namespaces): pods with hostUsers: false cannot run")
	}
	for _, kind := range []string{"bridge", "veth"} {
		err := inNamespaces(unix.CLONE_NEWNET, func() error { return makeLink(kind) })
		switch {
		case err == nil:
			d.ok("network devices of kind %s", kind)
		case d.Options.CNI.Bundled:
			d.problem("load the kernel module "+kind, "no network device of kind %s can be made: %v", kind, err)
		default:
			d.warn("load the kernel module "+kind+" if the node's network uses it", "no network device of kind %s can be made: %v", kind, err)
		}
	}
}

// inNamespaces runs f on a thread in new namespaces, which end with it.
func inNamespaces(flags int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends with the goroutine
		if err := unix.Unshare(flags); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// makeLink makes a network device in the thread's namespace over netlink.
func makeLink(kind string) error {
	info := attribute(unix.IFLA_INFO_KIND, append([]byte(kind), 0))
	body := make([]byte, unix.SizeofIfInfomsg)
	body = append(body, attribute(unix.IFLA_IFNAME, []byte("doctor0\x00"))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, info)...)
	return netlink(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// probeNFTables asks nf_tables for its generation.
func probeNFTables() error {
	const get = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	return netlink(unix.NETLINK_NETFILTER, get, 0, make([]byte, 4))
}

func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// netlink sends one request and gives the kernel's verdict.
func netlink(family int, kind uint16, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	timeout := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = binary.NativeEndian.AppendUint32(b, 1) // sequence
	b = binary.NativeEndian.AppendUint32(b, 0) // port
	if err := unix.Sendto(fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		answer := make([]byte, 8192)
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		if n < unix.SizeofNlMsghdr+4 {
			return fmt.Errorf("short answer of %d bytes", n)
		}
		if binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
			continue // the answer itself; the verdict follows
		}
		if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
			return unix.Errno(-code)
		}
		return nil
	}
}
