package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// kubelet is what can be known of the node's kubelet.
type kubelet struct {
	running bool
	files   []string          // that were read, in the order in which they count
	values  map[string]string // top-level settings of its configuration; flags win
}

// kubeletFiles are where tools put the kubelet's configuration.
var kubeletFiles = []string{
	"var/lib/kubelet/config.yaml",     // kubeadm, kind, minikube
	"etc/kubernetes/kubelet-config.*", // by hand
	"etc/kubernetes/kubelet.conf.d/*", // drop-ins, the usual place
	"var/lib/rancher/k3s/agent/etc/kubelet.conf.d/*",
	"var/lib/rancher/rke2/agent/etc/kubelet.conf.d/*",
}

func (d *Doctor) findKubelet(context.Context) {
	k := &d.kubelet
	k.values = map[string]string{}
	flags := d.kubeletProcess()
	switch {
	case d.KubeletConfig != "":
		if err := k.read(d.KubeletConfig); err != nil {
			d.problem("correct --kubelet-config", "%v", err)
		}
	case flags["config"] != "":
		k.readAll(flags["config"], filepath.Join(flags["config-dir"], "*.conf"))
	default:
		for _, pattern := range kubeletFiles {
			k.readAll(filepath.Join(d.Host.Etc, pattern))
		}
	}
	if endpoint := flags["container-runtime-endpoint"]; endpoint != "" {
		k.values["containerRuntimeEndpoint"] = endpoint
	}
	if !k.running && len(k.files) == 0 {
		d.note("no kubelet and no configuration of one were found (--kubelet-config names it)")
		return
	}
	if len(k.files) > 0 {
		d.ok("configuration in %s", strings.Join(k.files, ", "))
	}
	d.endpoint()
}

// endpoint compares where the kubelet connects with where the daemon listens.
func (d *Doctor) endpoint() {
	want := "unix://" + d.Options.Socket
	switch got := d.kubelet.values["containerRuntimeEndpoint"]; {
	case got == "":
		d.warn("`cri-wasmer kubelet-flags` prints what it must be told", "the kubelet is told of no runtime (containerRuntimeEndpoint)")
	case strings.TrimPrefix(got, "unix://") != d.Options.Socket:
		d.warn("set containerRuntimeEndpoint to "+want+" where this node is to run wasm", "the kubelet uses another runtime: %s", got)
	default:
		d.ok("it uses %s", want)
	}
}

// kubeletProcess gives the flags of a kubelet that runs.
func (d *Doctor) kubeletProcess() map[string]string {
	names, err := filepath.Glob(filepath.Join(d.Host.Proc, "[0-9]*", "cmdline"))
	if err != nil {
		return nil
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
		if filepath.Base(args[0]) == "kubelet" {
			d.kubelet.running = true
			return parseFlags(args[1:])
		}
	}
	return nil
}

// parseFlags reads --name=value and --name value.
func parseFlags(args []string) map[string]string {
	flags := map[string]string{}
	for i, arg := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		if !joined && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			value = args[i+1]
		}
		flags[name] = value
	}
	return flags
}

func (k *kubelet) readAll(patterns ...string) {
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, name := range names {
			if k.read(name) != nil {
				continue // a directory, or not for us to read
			}
		}
	}
}

func (k *kubelet) read(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	k.files = append(k.files, name)
	for key, value := range settings(data) {
		k.values[key] = value
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^([A-Za-z0-9]+):[ \t]*([^#\s][^#]*?)?[ \t]*(#.*)?$`)

// settings reads the top-level scalars of a configuration, in JSON or in YAML.
// That is all that matters here, and needs no parser of YAML.
func settings(data []byte) map[string]string {
	values := map[string]string{}
	if json.Valid(data) {
		var tree map[string]any
		if json.Unmarshal(data, &tree) == nil {
			for key, v := range tree {
				if b, err := json.Marshal(v); err == nil {
					values[key] = strings.Trim(string(b), `"`)
				}
			}
		}
		return values
	}
	for line := range bytes.Lines(data) {
		m := yamlLine.FindSubmatch(bytes.TrimRight(line, "\r\n"))
		if m != nil && len(m[2]) > 0 {
			values[string(m[1])] = strings.Trim(string(m[2]), `"'`)
		}
	}
	return values
}
