package network

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// network is one parsed configuration.
type network struct {
	list    *libcni.NetworkConfigList
	file    string // where it was read; empty for the bundled one
	bundled bool
}

// loader reads the first valid configuration of a directory, and reads it again
// when a file there has changed. Safe for concurrent use.
type loader struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	state string // of the directory when it was last read
	net   *network
	err   error
}

// network returns the network to use now: the node's own, else the bundled one.
// It returns a *NotReadyError when there is none. Files that are there but
// wrong are an error even though the bundled network would work: somebody meant
// something else.
func (c *CNI) network() (*network, error) {
	n, err := c.confs.load()
	if n != nil || err != nil {
		return n, err
	}
	if c.conf.NoBundled {
		return nil, &NotReadyError{
			Reason: ReasonNoConfig,
			Detail: fmt.Sprintf("no CNI configuration in %s: install a CNI plugin, or allow the bundled network (option cni.bundled)", c.conf.ConfDir),
		}
	}
	return c.bundled.network()
}

// load returns the directory's network, nil when it has no configuration, or a
// *NotReadyError when all that it has is wrong.
func (l *loader) load() (*network, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state, err := dirState(l.dir)
	if err != nil {
		return nil, &NotReadyError{Reason: ReasonInvalidConfig, Detail: fmt.Sprintf("cannot read CNI configuration: %v", err), Err: err}
	}
	if state == l.state {
		return l.net, l.err
	}
	l.net, l.err = l.read()
	l.state = state
	if l.net != nil {
		l.log.Info("CNI configuration read", "file", l.net.file, "network", l.net.list.Name)
	}
	return l.net, l.err
}

// read tries the files in lexicographic order. os.ReadDir sorts.
func (l *loader) read() (*network, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var bad []string
	var causes []error
	for _, e := range entries {
		file := filepath.Join(l.dir, e.Name())
		if e.IsDir() || !isConf(file) {
			continue
		}
		list, err := readConf(file)
		if err == nil {
			return &network{list: list, file: file}, nil
		}
		l.log.Warn("CNI configuration skipped", "file", file, "err", err)
		bad = append(bad, fmt.Sprintf("%s: %v", file, err))
		causes = append(causes, err)
	}
	if len(bad) == 0 {
		return nil, nil
	}
	return nil, &NotReadyError{
		Reason: ReasonInvalidConfig,
		Detail: "no valid CNI configuration, correct or remove: " + strings.Join(bad, "; "),
		Err:    errors.Join(causes...),
	}
}

func isConf(file string) bool {
	switch filepath.Ext(file) {
	case ".conf", ".conflist", ".json":
		return true
	}
	return false
}

// readConf reads a list of plugins, or the older form: one plugin, which
// becomes a list of one.
func readConf(file string) (*libcni.NetworkConfigList, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var keys struct {
		Type       string          `json:"type"`
		Name       string          `json:"name"`
		CNIVersion string          `json:"cniVersion"`
		Plugins    json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("not a CNI configuration: %w", err)
	}
	if keys.Plugins != nil || keys.Type == "" {
		list, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			return nil, err
		}
		return inline(list)
	}
	data, err = json.Marshal(map[string]any{
		"name":       keys.Name,
		"cniVersion": keys.CNIVersion,
		"plugins":    []json.RawMessage{data},
	})
	if err != nil {
		return nil, err
	}
	return parseList(data)
}

// inline puts plugins that have files of their own into the list: it is kept for
// DEL, when those files may say something else.
func inline(list *libcni.NetworkConfigList) (*libcni.NetworkConfigList, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(list.Bytes, &keys); err != nil {
		return nil, err
	}
	var plugins []json.RawMessage
	for _, p := range list.Plugins {
		plugins = append(plugins, p.Bytes)
	}
	var err error
	if keys["plugins"], err = json.Marshal(plugins); err != nil {
		return nil, err
	}
	data, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	return parseList(data)
}

// parseList reads a configuration that holds all its plugins.
func parseList(data []byte) (*libcni.NetworkConfigList, error) {
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	return list, check(list)
}

// check refuses what libcni would only refuse at the first pod.
func check(list *libcni.NetworkConfigList) error {
	if err := utils.ValidateNetworkName(list.Name); err != nil {
		return fmt.Errorf("network name %q: %s", list.Name, err.Msg)
	}
	if len(list.Plugins) == 0 {
		return errors.New("it lists no plugins")
	}
	if known := version.All.SupportedVersions(); !slices.Contains(known, versionOf(list)) {
		return fmt.Errorf("cniVersion %q is not known, only %s", list.CNIVersion, strings.Join(known, ", "))
	}
	return nil
}

// versionOf is that of CNI in which plugins are spoken to.
func versionOf(list *libcni.NetworkConfigList) string { return cmp.Or(list.CNIVersion, "0.1.0") }

// dirState changes when a configuration file, or a file of plugins that one
// refers to, appears, changes or goes; links are followed. A directory that does
// not exist has a state, too.
func dirState(dir string) (string, error) {
	var b strings.Builder
	b.WriteString("read\n")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		switch {
		case err != nil: // went just now, or a link that leads nowhere
			fmt.Fprintf(&b, "%s\n", path)
		case info.IsDir():
			addState(&b, path)
		default:
			fmt.Fprintln(&b, path, fileState(info))
		}
	}
	return b.String(), nil
}

// addState adds the files of plugins of one network. What cannot be read there
// matters only to a configuration that refers to it, and is said then.
func addState(b *strings.Builder, dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			fmt.Fprintln(b, path, fileState(info))
		}
	}
}

// fileState tells a file from one that took its place, with the same size and time
// even, as copies that keep times have them.
func fileState(info fs.FileInfo) string {
	s := fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s += fmt.Sprint(" ", sys.Dev, sys.Ino, sys.Ctim.Nano())
	}
	return s
}
