package config

import (
	"strings"
)

// Option is one row of the table.
type Option struct {
	Section string // of the TOML file; empty for the top
	Key     string
	Help    string // lines; the first one is the flag's help
	// value binds the option to its place.
	value func(*Options) value
}

// Name is the option's full key: cni.conf_dir.
func (o Option) Name() string {
	if o.Section == "" {
		return o.Key
	}
	return o.Section + "." + o.Key
}

// Flag is the option's flag without dashes in front: cni-conf-dir.
func (o Option) Flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(o.Name())
}

// Env is the option's environment variable: CRI_WASMER_CNI_CONF_DIR.
func (o Option) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(o.Name(), ".", "_"))
}

const envPrefix = "CRI_WASMER_"

// configEnv names the file to read. It and the flag --config are no options: a
// file cannot name itself.
const configEnv = envPrefix + "CONFIG"

// Table lists all options, section by section. Options of one section follow
// each other; those without a section come first, as TOML wants it.
func Table() []Option { return table }

var table = []Option{
	{"", "socket", "Unix socket on which the CRI is served.\n" +
		"The kubelet's containerRuntimeEndpoint is unix:// and this path.",
		func(o *Options) value { return path(&o.Socket, "/run/cri-wasmer/cri.sock") }},
	{"", "socket_mode", "Permissions of the socket. Whoever may write to it is root on this machine.",
		func(o *Options) value { return mode(&o.SocketMode, 0o660) }},
	{"", "socket_gid", "Group that owns the socket, by number.",
		func(o *Options) value { return integer(&o.SocketGID, 0, 0, 1<<31-1) }},
	{"", "root", "Directory for what survives a reboot: images, compiled modules, writable layers.",
		func(o *Options) value { return path(&o.Root, "/var/lib/cri-wasmer") }},
	{"", "state", "Directory for what a reboot ends: sockets, network namespaces, records of processes.\n" +
		"Best on a tmpfs, as /run is.",
		func(o *Options) value { return path(&o.State, defaultState) }},
	{"", "worker", "Binary that runs guests. Empty: cri-wasmer-worker beside this binary or in ../libexec/cri-wasmer/bin.",
		func(o *Options) value { return optionalPath(&o.Worker) }},

	{"cni", "conf_dir", "Directory with the node's CNI configuration. Changes there take effect with the next pod.",
		func(o *Options) value { return path(&o.CNI.ConfDir, "/etc/cni/net.d") }},
	{"cni", "bin_dirs", "Directories with CNI plugins, in order of search. Those that came with cri-wasmer are searched last.",
		func(o *Options) value { return paths(&o.CNI.BinDirs, "/opt/cni/bin") }},
	{"cni", "bundled", "Connect pods by a bridge of our own while the node has no CNI configuration.\n" +
		"Set it to false where something else installs a network, such as a DaemonSet:\n" +
		"the node is then not ready until that has happened.",
		func(o *Options) value { return boolean(&o.CNI.Bundled, true) }},
	{"cni", "subnets", "Pod subnets of the bundled network: one of IPv4, one of IPv6, or both.\n" +
		"The pod CIDR that a kubelet announces overrides them.",
		func(o *Options) value { return prefixes(&o.CNI.Subnets, "10.88.0.0/16") }},
	{"cni", "gc", "At start, have the plugins of the node's network delete every attachment that is not ours (CNI GC).\n" +
		"Never where another container runtime uses the same network.",
		func(o *Options) value { return boolean(&o.CNI.GC, false) }},
	{"cni", "timeout", "How long the plugins of one pod may take.",
		func(o *Options) value { return duration(&o.CNI.Timeout, "1m") }},

	{"cgroup", "driver", "Who makes cgroups: cgroupfs, systemd, or auto: systemd where it runs the machine's cgroup v2.\n" +
		"The kubelet asks for it and follows.",
		func(o *Options) value { return enum(&o.Cgroup.Driver, "auto", "auto", "cgroupfs", "systemd") }},
	{"cgroup", "parent", "Parent cgroup of pods that name none. Empty: /cri-wasmer, or cri-wasmer.slice with systemd, with a suffix if state is not the default. It belongs to one daemon.",
		func(o *Options) value { return text(&o.Cgroup.Parent, "") }},
	{"selinux", "labels", "Give pods SELinux labels: auto, where the node has SELinux and its policy permits it; on, or the daemon does not start; off.",
		func(o *Options) value { return enum(&o.SELinux.Labels, "auto", "auto", "on", "off") }},

	{"container", "rlimits", "Resource limits of containers and their commands, such as nofile=1024:4096 (soft and hard) or core=0 (both).\n" +
		"Those that are not named are the daemon's.",
		func(o *Options) value { return rlimits(&o.Container.Rlimits) }},

	{"image", "certs_dirs", "Directories with HOST/hosts.toml: mirrors, certificates and credentials of registries.\n" +
		"The first directory that has the host is used.",
		func(o *Options) value {
			return paths(&o.Image.CertsDirs, "/etc/cri-wasmer/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d")
		}},
	{"image", "max_downloads", "Layers that are downloaded at the same time, over all pulls.",
		func(o *Options) value { return integer(&o.Image.MaxDownloads, 4, 1, 1000) }},
	{"image", "docker_config", "Docker's config.json with credentials of the node, credential helpers included, for pulls that bring none.\n" +
		"Empty: the node has no credentials.",
		func(o *Options) value { return optionalPath(&o.Image.DockerConfig) }},
	{"image", "pinned", "Names of images that the kubelet must not remove when it needs space.",
		func(o *Options) value { return names(&o.Image.Pinned) }},
	{"image", "signature_policy", "File that says which images must be signed, and by whom (docs/signatures.md). Empty: none must be.",
		func(o *Options) value { return optionalPath(&o.Image.SignaturePolicy) }},
	{"image", "verifier", "Program that judges signatures. Empty: cri-wasmer-verify beside this binary or in ../libexec/cri-wasmer/bin.",
		func(o *Options) value { return optionalPath(&o.Image.Verifier) }},
	{"image", "max_layer_size", "How large a layer may be when it is unpacked.",
		func(o *Options) value { return size(&o.Image.MaxLayerSize, "16GiB") }},
	{"image", "max_layer_entries", "How many files a layer may hold.",
		func(o *Options) value { return integer(&o.Image.MaxLayerEntries, 1_000_000, 1, 1<<31-1) }},
	{"image", "max_layer_ratio", "How many times its packed size a layer of more than 256MiB may unpack to: beyond that it is taken for a bomb.",
		func(o *Options) value { return integer(&o.Image.MaxLayerRatio, 200, 2, 1_000_000) }},

	{"compile", "parallel", "Modules that are compiled at the same time, besides one in the background. 0: half of the machine's CPUs.",
		func(o *Options) value { return integer(&o.Compile.Parallel, 0, 0, 1000) }},
	{"compile", "memory", "Memory that one compiler may use. A module that needs more fails to compile.",
		func(o *Options) value { return size(&o.Compile.Memory, "3GiB") }},
	{"compile", "timeout", "How long the compilation of one module may take.",
		func(o *Options) value { return duration(&o.Compile.Timeout, "10m") }},

	{"stream", "address", "Where exec, attach and port-forward are served. Port 0: any free one.\n" +
		"The kubelet connects here, so loopback is enough. There is no password but a one-time token.",
		func(o *Options) value { return address(&o.Stream.Address, "127.0.0.1:0", false) }},
	{"stream", "idle_timeout", "After how long a connection on which nothing moves is ended.",
		func(o *Options) value { return duration(&o.Stream.IdleTimeout, "4h") }},
	{"stream", "creation_timeout", "How long a client may take to open its streams.",
		func(o *Options) value { return duration(&o.Stream.CreationTimeout, "30s") }},
	{"stream", "tls_cert", "File with the certificate, in PEM, with which streams are served over TLS. Empty: without TLS.",
		func(o *Options) value { return optionalPath(&o.Stream.TLSCert) }},
	{"stream", "tls_key", "File with its private key, in PEM.",
		func(o *Options) value { return optionalPath(&o.Stream.TLSKey) }},

	{"wasi", "trace", "Trace the WASI calls of every container that has no annotation about it: a line for each,\n" +
		"in a file beside the container's log. For debugging: it takes time and shows what guests read and write.",
		func(o *Options) value { return boolean(&o.WASI.Trace, false) }},
	{"wasi", "trace_size", "How much of the trace of one container is kept: the latest.",
		func(o *Options) value { return size(&o.WASI.TraceSize, "64MiB") }},

	{"log", "level", "The least important messages to log: debug, info, warn or error.",
		func(o *Options) value { return level(&o.Log.Level) }},
	{"log", "format", "Form of the log: text or json.",
		func(o *Options) value { return enum(&o.Log.Format, "text", "text", "json") }},

	{"metrics", "address", "Where Prometheus metrics and health are served: an address such as 127.0.0.1:9464 or :9464,\n" +
		"which is on loopback, or unix:// and the path of a socket. Empty: nowhere.",
		func(o *Options) value { return listenAddress(&o.Metrics.Address) }},
	{"metrics", "pprof", "Serve profiles of the daemon there, too, below /debug/pprof/.",
		func(o *Options) value { return boolean(&o.Metrics.Pprof, false) }},

	{"tracing", "endpoint", "URL of an OpenTelemetry collector that takes traces by OTLP over HTTP, such as\n" +
		"http://127.0.0.1:4318. Empty: no traces.",
		func(o *Options) value { return endpoint(&o.Tracing.Endpoint) }},
	{"tracing", "samples_per_million", "How many of a million requests begin a trace, of those that are not part of one already.",
		func(o *Options) value { return integer(&o.Tracing.PerMillion, 1000000, 0, 1000000) }},
}

// defaults sets every option to its default.
func defaults() Options {
	var o Options
	for _, opt := range table {
		opt.value(&o).reset()
	}
	return o
}
