package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func (d *Doctor) network(context.Context) {
	files, err := confFiles(d.Options.CNI.ConfDir)
	if err != nil {
		d.problem("correct the option cni.conf_dir", "%v", err)
		return
	}
	for _, file := range files {
		plugins, err := pluginsOf(file)
		if err != nil {
			d.warn("correct or remove it", "%s is skipped: %v", file, err)
			continue
		}
		d.ok("%s is used, the first valid file in %s", file, d.Options.CNI.ConfDir)
		d.plugins(plugins)
		return
	}
	switch {
	case len(files) > 0:
		d.problem("correct or remove the files", "no file in %s is valid", d.Options.CNI.ConfDir)
	case !d.Options.CNI.Bundled:
		d.problem("install the cluster's network, or set the option cni.bundled", "there is no CNI configuration in %s, and the bundled network is switched off", d.Options.CNI.ConfDir)
	default:
		d.bundled()
	}
}

// confFiles lists configurations in the order in which they are tried.
func confFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

// pluginsOf lists the plugins that a configuration calls.
func pluginsOf(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	type plugin struct {
		Type string `json:"type"`
		IPAM struct {
			Type string `json:"type"`
		} `json:"ipam"`
	}
	var conf struct {
		plugin
		Name    string   `json:"name"`
		Plugins []plugin `json:"plugins"`
	}
	if err := json.Unmarshal(data, &conf); err != nil {
		return nil, fmt.Errorf("not a CNI configuration: %w", err)
	}
	list := conf.Plugins
	if conf.Type != "" {
		list = append(list, conf.plugin)
	}
	var names []string
	for _, p := range list {
		if p.Type == "" {
			return nil, errors.New("a plugin has no type")
		}
		names = append(names, p.Type)
		if p.IPAM.Type != "" {
			names = append(names, p.IPAM.Type)
		}
	}
	if len(names) == 0 || conf.Name == "" {
		return nil, errors.New("it has no name or no plugins")
	}
	return names, nil
}

// plugins checks that the binaries are there.
func (d *Doctor) plugins(names []string) {
	dirs := d.Options.PluginDirs()
	var have []string
	for _, name := range names {
		path := findPlugin(name, dirs)
		if path == "" {
			d.problem("install it there, or add its directory to the option cni.bin_dirs", "the plugin %s is in none of %s", name, strings.Join(dirs, ", "))
			continue
		}
		have = append(have, path)
	}
	if len(have) == len(names) {
		d.ok("plugins %s", strings.Join(have, ", "))
	}
}

func findPlugin(name string, dirs []string) string {
	if strings.ContainsRune(name, filepath.Separator) {
		return ""
	}
	for _, dir := range dirs {
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	return ""
}

// bundled checks what the bundled network needs.
func (d *Doctor) bundled() {
	d.ok("the node has no CNI configuration: pods get the bundled bridge, until something puts one into %s", d.Options.CNI.ConfDir)
	d.plugins([]string{"bridge", "host-local"})
	if err := probeNFTables(); err != nil {
		d.problem("load the kernel module nf_tables", "no nf_tables, by which pods reach the world and ports of the host reach pods: %v", err)
	} else {
		d.ok("nf_tables")
	}
	addrs, err := hostAddresses()
	if err != nil {
		d.warn("", "addresses of the node: %v", err)
		return
	}
	for _, subnet := range d.Options.CNI.Subnets {
		i := slices.IndexFunc(addrs, func(a address) bool { return a.prefix.Overlaps(subnet) })
		if i >= 0 {
			d.problem("set the option cni.subnets to addresses that are free", "the pod subnet %s overlaps with %s of %s", subnet, addrs[i].prefix, addrs[i].device)
			continue
		}
		d.ok("pod subnet %s", subnet)
	}
}

type address struct {
	device string
	prefix netip.Prefix
}

// hostAddresses lists the node's own, without those of the bundled bridge.
func hostAddresses() ([]address, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []address
	for _, dev := range devices {
		if strings.HasPrefix(dev.Name, "cri-wasmer") || dev.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := dev.Addrs()
		if err != nil {
			continue // it has gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, address{dev.Name, p.Masked()})
			}
		}
	}
	return list, nil
}
