package network

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containernetworking/cni/libcni"
)

// plugins remembers which versions of CNI each plugin knows. Safe for concurrent
// use.
type plugins struct {
	mu    sync.Mutex
	known map[string]pluginVersions // by path
}

type pluginVersions struct {
	file     string   // state of the plugin that said so
	versions []string // empty: it did not say
}

// canRun is a *NotReadyError when a plugin of the network, or one for its
// addresses, is not there or does not know the version of CNI that the network is
// configured for. Neither ADD nor the DEL after it would work, so nothing may be
// begun.
func (c *CNI) canRun(ctx context.Context, n *network) error {
	want := versionOf(n.list)
	for _, p := range n.list.Plugins {
		for _, name := range pluginNames(p) {
			path, err := findPlugin(name, c.conf.BinDirs)
			if err != nil {
				return &NotReadyError{
					Reason: ReasonPluginMissing,
					Detail: fmt.Sprintf("CNI network %q: %v", n.list.Name, err),
					Err:    err,
				}
			}
			if has := c.versions(ctx, name, path); len(has) > 0 && !slices.Contains(has, want) {
				return &NotReadyError{
					Reason: ReasonPluginVersion,
					Detail: fmt.Sprintf("CNI network %q is configured for CNI %s, and plugin %s knows only %s: install another one, or change the network's cniVersion",
						n.list.Name, want, path, strings.Join(has, ", ")),
				}
			}
		}
	}
	return nil
}

// versions asks a plugin what it knows, once for each file. One that does not answer
// as it must is not asked again; it may work all the same.
func (c *CNI) versions(ctx context.Context, name, path string) []string {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	file := fileState(info)
	c.plugins.mu.Lock()
	known, ok := c.plugins.known[path]
	c.plugins.mu.Unlock()
	if ok && known.file == file {
		return known.versions
	}
	asked, cancel := within(ctx, statusTimeout)
	defer cancel()
	said, err := c.lib.GetVersionInfo(asked, name)
	if ctx.Err() != nil {
		return nil
	}
	known = pluginVersions{file: file}
	if err != nil {
		c.log.Warn("CNI plugin does not tell its versions", "plugin", path, "err", err)
	} else {
		known.versions = said.SupportedVersions()
	}
	c.plugins.mu.Lock()
	defer c.plugins.mu.Unlock()
	if c.plugins.known == nil {
		c.plugins.known = map[string]pluginVersions{}
	}
	c.plugins.known[path] = known
	return known.versions
}

// pluginNames lists the plugin and those to which it delegates by the usual key.
func pluginNames(p *libcni.PluginConfig) []string {
	names := []string{p.Network.Type}
	var keys struct {
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	if json.Unmarshal(p.Bytes, &keys) == nil && keys.IPAM.Type != "" {
		names = append(names, keys.IPAM.Type)
	}
	return names
}
