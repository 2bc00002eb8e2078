package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// writePodFiles writes /etc/hosts, /etc/hostname and /etc/resolv.conf of a pod.
func (m *Manager) writePodFiles(rec *podRecord) error {
	dir := m.podDir(rec.ID)
	resolv, err := resolvConf(rec.Config.DNS)
	if err != nil {
		return err
	}
	hosts, err := hostsFile(rec)
	if err != nil {
		return err
	}
	uid, gid := rec.Config.UserNS.HostRoot()
	for name, text := range map[string]string{fileHosts: hosts, fileHostname: rec.Hostname + "\n", fileResolv: resolv} {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, []byte(text), 0o644)
		if err == nil && rec.Config.UserNS != nil {
			err = os.Chown(path, int(uid), int(gid))
		}
		if err != nil {
			return fmt.Errorf("write %s of the pod: %w", name, err)
		}
		if err := m.Labels.Relabel(path, rec.Label.Mount); err != nil {
			return err
		}
	}
	return nil
}

// resolvConf is that of the host without a DNS configuration, and empty with
// an empty one.
func resolvConf(dns *DNS) (string, error) {
	if dns == nil {
		b, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("copy the host's resolv.conf: %w", err)
		}
		return string(b), nil
	}
	var b strings.Builder
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, s := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String(), nil
}

func hostsFile(rec *podRecord) (string, error) {
	if rec.Network == nil {
		b, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("copy the host's hosts file: %w", err)
		}
		return string(b), nil
	}
	var ips []netip.Addr
	if rec.Result != nil {
		ips = rec.Result.IPs
	}
	b := strings.Builder{}
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, ip := range ips {
		fmt.Fprintf(&b, "%s\t%s\n", ip, rec.Hostname)
	}
	return b.String(), nil
}
