package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Capability is what a host may be used for.
type Capability uint8

// Capabilities of a host. Pushing is accepted in a file and means nothing here.
const (
	CapPull      Capability = 1 << iota // content by digest
	CapResolve                          // tags
	CapReferrers                        // what refers to a digest, such as signatures

	capAll = CapPull | CapResolve | CapReferrers
)

// Host is one server to ask for content of a registry.
type Host struct {
	Scheme  string // https or http
	Addr    string // host[:port]
	Path    string // API root, usually /v2
	Caps    Capability
	Headers http.Header
	// Fallback allows plain http when the server does not speak TLS. It is
	// set for loopback servers that no hosts.toml describes.
	Fallback   bool
	SkipVerify bool
	CA         []string    // PEM files
	Client     [][2]string // certificate and key files
	Origin     bool        // the registry itself, not a mirror
	// DialTimeout bounds connecting; 0 means 10 s.
	DialTimeout time.Duration
}

// URL gives the address of the host for error texts.
func (h *Host) URL() string { return h.Scheme + "://" + h.Addr }

const maxHostsFile = 1 << 20

// LoadHosts gives the hosts to ask for content of the registry domain, in
// order, as the first of dirs says that has something about it:
// DIR/<host>/hosts.toml, DIR/<host>_<port>_/, DIR/_default/, in containerd's
// certs.d layout, or the certificates of docker's in the same directory.
// Without any, it is the registry itself: https, and plain http only when it
// is on loopback. The error names the file.
func LoadHosts(dirs []string, domain string) ([]Host, error) {
	for _, dir := range dirs {
		for _, name := range dirNames(domain) {
			hosts, err := loadDir(filepath.Join(dir, name), domain)
			if err != nil || hosts != nil {
				return hosts, err
			}
		}
	}
	return []Host{defaultHost(domain)}, nil
}

// dirNames are the names under which a registry can have a directory.
func dirNames(domain string) []string {
	names := []string{domain, "_default"}
	if h, p, err := net.SplitHostPort(domain); err == nil {
		names = []string{h + "_" + p + "_", domain, "_default"}
	}
	return names
}

func loadDir(dir, domain string) ([]Host, error) {
	file := filepath.Join(dir, "hosts.toml")
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return loadCertDir(dir, domain)
	case err != nil:
		return nil, fmt.Errorf("registry configuration: %w", err)
	case info.Size() > maxHostsFile:
		return nil, fmt.Errorf("registry configuration %s: larger than %d bytes", file, maxHostsFile)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("registry configuration: %w", err)
	}
	hosts, err := ParseHosts(data, dir, domain)
	if err != nil {
		return nil, fmt.Errorf("registry configuration %s: %w", file, err)
	}
	return hosts, nil
}

// loadCertDir reads docker's layout: *.crt are CAs, X.cert and X.key a client
// certificate. It gives nil when the directory holds none.
func loadCertDir(dir, domain string) ([]Host, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || !isDir(dir) {
			return nil, nil
		}
		return nil, fmt.Errorf("registry configuration: %w", err)
	}
	h := defaultHost(domain)
	h.Fallback = false
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		switch filepath.Ext(p) {
		case ".crt":
			h.CA = append(h.CA, p)
		case ".cert":
			key := strings.TrimSuffix(p, ".cert") + ".key"
			if _, err := os.Stat(key); err != nil {
				return nil, fmt.Errorf("registry configuration: certificate %s has no key: %w", p, err)
			}
			h.Client = append(h.Client, [2]string{p, key})
		}
	}
	if h.CA == nil && h.Client == nil {
		return nil, nil
	}
	return []Host{h}, nil
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}

func defaultHost(domain string) Host {
	h := Host{Scheme: "https", Addr: domain, Path: "/v2", Caps: capAll, Origin: true}
	if domain == "docker.io" {
		h.Addr = "registry-1.docker.io"
	}
	h.Fallback = isLoopback(domain)
	return h
}

func isLoopback(domain string) bool {
	host := domain
	if h, _, err := net.SplitHostPort(domain); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// hostFields are the keys of hosts.toml at its top (for the server) and in
// each [host."URL"] table.
type hostFields struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   bool           `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  any            `toml:"dial_timeout"`
}

type hostsFile struct {
	hostFields
	Server string                `toml:"server"`
	Host   map[string]hostFields `toml:"host"`
}

// ParseHosts reads the text of a hosts.toml that lies in dir. Mirrors come in
// the order of the file, the server last. Unknown keys are ignored, as other
// runtimes have keys of their own there.
func ParseHosts(data []byte, dir, domain string) ([]Host, error) {
	var f hostsFile
	if err := toml.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	order, err := hostOrder(data)
	if err != nil {
		return nil, err
	}
	var hosts []Host
	for _, u := range order {
		fields, ok := f.Host[u]
		if !ok {
			continue
		}
		h, err := makeHost(u, fields, dir)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", u, err)
		}
		hosts = append(hosts, h)
	}
	if len(hosts) != len(f.Host) {
		return nil, errors.New("hosts must be tables of the form [host.\"URL\"]")
	}
	server := f.Server
	if server == "" {
		d := defaultHost(domain)
		server = d.URL()
		if d.Fallback { // nothing says TLS: loopback stays as it is without a file
			h, err := makeHost(server, f.hostFields, dir)
			h.Origin, h.Fallback = true, h.CA == nil && h.Client == nil
			return append(hosts, h), err
		}
	}
	h, err := makeHost(server, f.hostFields, dir)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	h.Origin = true
	return append(hosts, h), nil
}

// hostOrder gives the URLs of the [host."URL"] tables in the order of the
// text, which decoding into a map forgets.
func hostOrder(data []byte) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	add := func(u string) {
		if !seen[u] {
			seen[u] = true
			order = append(order, u)
		}
	}
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.KeyValue {
			continue
		}
		it := e.Key()
		if !it.Next() || string(it.Node().Data) != "host" {
			continue
		}
		if it.Next() {
			add(string(it.Node().Data))
		} else if e.Kind == unstable.KeyValue && e.Value().Kind == unstable.InlineTable {
			for c := e.Value().Children(); c.Next(); {
				if k := c.Node().Key(); k.Next() {
					add(string(k.Node().Data))
				}
			}
		}
	}
	return order, p.Error()
}

func makeHost(raw string, f hostFields, dir string) (Host, error) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
		if isLoopback(strings.TrimPrefix(raw, "https://")) {
			raw = "http://" + strings.TrimPrefix(raw, "https://")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return Host{}, errors.New("not a URL")
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return Host{}, errors.New("must be http:// or https:// with a host, without user or query")
	}
	h := Host{Scheme: u.Scheme, Addr: u.Host, Path: apiRoot(u.Path, f.OverridePath), SkipVerify: f.SkipVerify}
	if h.Caps, err = capabilities(f.Capabilities); err != nil {
		return Host{}, err
	}
	if h.CA, err = fileList(f.CA, dir); err != nil {
		return Host{}, fmt.Errorf("ca: %w", err)
	}
	if h.Client, err = pairList(f.Client, dir); err != nil {
		return Host{}, fmt.Errorf("client: %w", err)
	}
	if h.DialTimeout, err = dialTimeout(f.DialTimeout); err != nil {
		return Host{}, fmt.Errorf("dial_timeout: %w", err)
	}
	h.Headers, err = headers(f.Header)
	return h, err
}

func apiRoot(p string, override bool) string {
	p = strings.TrimRight(p, "/")
	if override {
		return p
	}
	if !strings.HasSuffix(p, "/v2") {
		p = path.Join("/", p, "v2")
	}
	return p
}

func capabilities(names []string) (Capability, error) {
	if len(names) == 0 {
		return capAll, nil
	}
	var c Capability
	for _, n := range names {
		switch n {
		case "pull":
			c |= CapPull
		case "resolve":
			c |= CapResolve | CapReferrers // who is trusted with tags is with these
		case "referrers":
			c |= CapReferrers
		case "push":
		default:
			return 0, fmt.Errorf("unknown capability %q", n)
		}
	}
	return c, nil
}

// dialTimeout reads "3s".
func dialTimeout(v any) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	text, ok := v.(string)
	d, err := time.ParseDuration(text)
	if !ok || err != nil || d <= 0 {
		return 0, errors.New("must be a time such as \"3s\"")
	}
	return d, nil
}

// fileList reads "a.pem" or ["a.pem", "b.pem"].
func fileList(v any, dir string) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{absPath(v, dir)}, nil
	case []any:
		var list []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("must be a file name or a list of them")
			}
			list = append(list, absPath(s, dir))
		}
		return list, nil
	}
	return nil, errors.New("must be a file name or a list of them")
}

// pairList reads "both.pem", ["both.pem", ...] or [["cert", "key"], ...].
func pairList(v any, dir string) ([][2]string, error) {
	bad := errors.New("must be a file name, a list of them, or a list of certificate and key pairs")
	list, ok := v.([]any)
	if !ok {
		if v == nil {
			return nil, nil
		}
		list = []any{v}
	}
	var pairs [][2]string
	for _, e := range list {
		switch e := e.(type) {
		case string:
			p := absPath(e, dir)
			pairs = append(pairs, [2]string{p, p})
		case []any:
			files, err := fileList(e, dir)
			if err != nil || len(files) == 0 || len(files) > 2 {
				return nil, bad
			}
			key := files[len(files)-1]
			if e[len(e)-1] == "" {
				key = files[0]
			}
			pairs = append(pairs, [2]string{files[0], key})
		default:
			return nil, bad
		}
	}
	return pairs, nil
}

func absPath(p, dir string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(dir, p)
}

func headers(m map[string]any) (http.Header, error) {
	if len(m) == 0 {
		return nil, nil
	}
	h := http.Header{}
	for k, v := range m {
		values, ok := v.([]any)
		if !ok {
			values = []any{v}
		}
		for _, e := range values {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("header %q must be text", k)
			}
			h.Add(k, s)
		}
	}
	return h, nil
}
