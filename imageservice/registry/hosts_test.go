package registry

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestParseHostsKeepsTheOrderOfTheFile(t *testing.T) {
	hosts, err := ParseHosts([]byte(`
server = "https://registry.example.com"
ca = "/etc/ca.pem"
unknown_key = 3

[host."https://zz.example.com"]
  capabilities = ["pull", "resolve", "push"]
  ca = ["a.pem", "/b.pem"]
  client = [["cert.pem", "key.pem"], ["both.pem", ""]]
  [host."https://zz.example.com".header]
    x-one = "1"
    x-many = ["2", "3"]

[host."http://aa.example.com:5000"]
  capabilities = ["pull"]
  skip_verify = true

[host."https://mm.example.com/v2/proxy"]
  override_path = true
  client = "/both.pem"

[host."https://kk.example.com/base/"]
  dial_timeout = "3s"
`), "/dir", "example.com")
	if err != nil {
		t.Fatal(err)
	}
	all := CapPull | CapResolve | CapReferrers
	want := []Host{
		{Scheme: "https", Addr: "zz.example.com", Path: "/v2", Caps: all, CA: []string{"/dir/a.pem", "/b.pem"},
			Client:  [][2]string{{"/dir/cert.pem", "/dir/key.pem"}, {"/dir/both.pem", "/dir/both.pem"}},
			Headers: map[string][]string{"X-One": {"1"}, "X-Many": {"2", "3"}}},
		{Scheme: "http", Addr: "aa.example.com:5000", Path: "/v2", Caps: CapPull, SkipVerify: true},
		{Scheme: "https", Addr: "mm.example.com", Path: "/v2/proxy", Caps: all, Client: [][2]string{{"/both.pem", "/both.pem"}}},
		{Scheme: "https", Addr: "kk.example.com", Path: "/base/v2", Caps: all, DialTimeout: 3 * time.Second},
		{Scheme: "https", Addr: "registry.example.com", Path: "/v2", Caps: all, CA: []string{"/etc/ca.pem"}, Origin: true},
	}
	for i := range want {
		if i >= len(hosts) || !reflect.DeepEqual(hosts[i], want[i]) {
			t.Errorf("host %d:\n got %+v\nwant %+v", i, hosts[min(i, len(hosts)-1)], want[i])
		}
	}
	if len(hosts) != len(want) {
		t.Errorf("%d hosts, want %d", len(hosts), len(want))
	}
}

func TestParseHostsRefusesWhatItCannotMean(t *testing.T) {
	for name, text := range map[string]string{
		"no TOML":            "[host",
		"unknown capability": "[host.\"https://a\"]\ncapabilities = [\"eat\"]",
		"scheme":             "server = \"ftp://a\"",
		"user":               "server = \"https://u:p@a\"",
		"query":              "[host.\"https://a?x=1\"]",
		"ca":                 "ca = 3",
		"ca list":            "ca = [3]",
		"client":             "client = [[\"a\", \"b\", \"c\"]]",
		"client number":      "client = [3]",
		"dial timeout":       "dial_timeout = 3",
		"no time":            "dial_timeout = \"soon\"",
		"a time before now":  "dial_timeout = \"-3s\"",
		"header":             "[host.\"https://a\"]\n[host.\"https://a\".header]\nx = 3",
	} {
		if hosts, err := ParseHosts([]byte(text), "/dir", "a"); err == nil {
			t.Errorf("%s: %+v, want an error", name, hosts)
		}
	}
}

func TestLoadHostsFindsTheDirectory(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	write(t, filepath.Join(one, "a.example.com", "hosts.toml"), `server = "https://one"`)
	write(t, filepath.Join(two, "a.example.com", "hosts.toml"), `server = "https://two"`)
	write(t, filepath.Join(two, "b.example.com_5000_", "hosts.toml"), `server = "https://underscore"`)
	write(t, filepath.Join(two, "c.example.com:5000", "hosts.toml"), `server = "https://colon"`)
	write(t, filepath.Join(two, "d.example.com", "my.crt"), "")
	write(t, filepath.Join(two, "d.example.com", "c.cert"), "")
	write(t, filepath.Join(two, "d.example.com", "c.key"), "")
	for domain, want := range map[string]string{
		"a.example.com": "https://one/v2", "b.example.com:5000": "https://underscore/v2", "c.example.com:5000": "https://colon/v2",
		"d.example.com": "https://d.example.com/v2", "e.example.com": "https://e.example.com/v2", "docker.io": "https://registry-1.docker.io/v2",
	} {
		hosts, err := LoadHosts([]string{one, two, "/nonexistent"}, domain)
		if err != nil || len(hosts) != 1 || hosts[0].URL()+hosts[0].Path != want || !hosts[0].Origin {
			t.Errorf("%s: %+v, %v, want %s", domain, hosts, err, want)
		}
		if domain == "d.example.com" && (len(hosts[0].CA) != 1 || len(hosts[0].Client) != 1) {
			t.Errorf("certificates in docker's layout: %+v", hosts[0])
		}
	}
	write(t, filepath.Join(two, "_default", "hosts.toml"), `[host."https://mirror"]`)
	hosts, err := LoadHosts([]string{one, two}, "e.example.com")
	if err != nil || len(hosts) != 2 || hosts[0].Addr != "mirror" || hosts[1].Addr != "e.example.com" {
		t.Errorf("default: %+v, %v", hosts, err)
	}
	write(t, filepath.Join(one, "bad.example.com", "hosts.toml"), `server = [`)
	if _, err := LoadHosts([]string{one}, "bad.example.com"); err == nil || !strings.Contains(err.Error(), "bad.example.com/hosts.toml") {
		t.Errorf("broken file: %v, want an error that names it", err)
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for domain, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true,
		"10.0.0.1:5000": false, "192.168.1.1": false, "registry.local": false, "localhost.example.com": false, "example.com:5000": false,
	} {
		hosts, err := LoadHosts(nil, domain)
		if err != nil || hosts[0].Fallback != want || hosts[0].Scheme != "https" {
			t.Errorf("%s: %+v, %v, want fallback %v", domain, hosts, err, want)
		}
	}
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte("server = \"https://a\"\n[host.\"https://b\"]\ncapabilities = [\"pull\"]\n"))
	f.Add([]byte("host = {\"https://b\" = {ca = [\"x\"]}}"))
	f.Add([]byte("host.\"http://c\".client = [[\"a\",\"b\"]]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		hosts, err := ParseHosts(data, "/dir", "example.com")
		if err != nil {
			return
		}
		if len(hosts) == 0 || !hosts[len(hosts)-1].Origin {
			t.Fatalf("%+v: the registry itself must be the last host", hosts)
		}
		for _, h := range hosts {
			if (h.Scheme != "http" && h.Scheme != "https") || h.Addr == "" {
				t.Fatalf("host without address: %+v", h)
			}
		}
	})
}
