package config

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// node is a place for files that stands for /etc/cri-wasmer.
type node struct {
	t   *testing.T
	dir string
}

func newNode(t *testing.T) node { return node{t, t.TempDir()} }

func (n node) write(name, content string) {
	n.t.Helper()
	file := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// load loads with the node's files, the environment and the flags given.
func (n node) load(env []string, args ...string) (*Config, error) {
	n.t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return Load(flags, append(env, configEnv+"="+filepath.Join(n.dir, "config.toml")))
}

func TestPrecedence(t *testing.T) {
	file, dropIn := "[log]\nlevel = \"debug\"\n", "[log]\nlevel = \"warn\"\n"
	env := []string{"CRI_WASMER_LOG_LEVEL=error"}
	tests := []struct {
		name       string
		file       string
		dropIn     string
		env        []string
		args       []string
		want       slog.Level
		wantSource string
	}{
		{"default", "\n", "", nil, nil, slog.LevelInfo, "default"},
		{"file over default", file, "", nil, nil, slog.LevelDebug, "config.toml:2"},
		{"drop-in over file", file, dropIn, nil, nil, slog.LevelWarn, "conf.d/10.toml:2"},
		{"environment over files", file, dropIn, env, nil, slog.LevelError, "CRI_WASMER_LOG_LEVEL"},
		{"flag over environment", file, dropIn, env, []string{"--log-level=info"}, slog.LevelInfo, "--log-level"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.write("config.toml", tt.file)
			if tt.dropIn != "" {
				n.write("conf.d/10.toml", tt.dropIn)
			}
			c, err := n.load(tt.env, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if c.Log.Level != tt.want {
				t.Errorf("level = %v, want %v", c.Log.Level, tt.want)
			}
			if got := strings.TrimPrefix(c.Sources["log.level"], n.dir+"/"); got != tt.wantSource {
				t.Errorf("source = %q, want %q", got, tt.wantSource)
			}
		})
	}
}

func TestLaterDropInsWin(t *testing.T) {
	n := newNode(t)
	n.write("config.toml", "")
	n.write("conf.d/20.toml", "socket_gid = 20\n")
	n.write("conf.d/10.toml", "socket_gid = 10\nsocket_mode = \"0600\"\n")
	n.write("conf.d/30.toml.bak", "socket_gid = 30\n")
	c, err := n.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.SocketGID != 20 || c.SocketMode != 0o600 {
		t.Errorf("gid %d, mode %o, want 20 and 600", c.SocketGID, c.SocketMode)
	}
	if len(c.Files) != 3 {
		t.Errorf("files = %q, want three", c.Files)
	}
}

func TestTheDefaultFileIsTheDefault(t *testing.T) {
	var file bytes.Buffer
	if err := WriteDefault(&file); err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	n.write("config.toml", file.String())
	got, err := n.load(nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, file.String())
	}
	if want := defaults(); !reflect.DeepEqual(got.Options, want) {
		t.Errorf("options = %+v\nwant %+v", got.Options, want)
	}
	for _, opt := range Table() {
		if !strings.Contains(got.Sources[opt.Name()], "config.toml:") {
			t.Errorf("%s is not in the default file", opt.Name())
		}
	}
}

var update = flag.Bool("update", false, "write the table of options into docs/configuration.md")

// TestTheDocumentationHasEveryOption compares what lies between two marks with
// the table; `go test ./internal/config -update` writes it anew.
func TestTheDocumentationHasEveryOption(t *testing.T) {
	const file, begin, end = "../../docs/configuration.md", "<!-- options -->\n", "<!-- end of options -->\n"
	var want bytes.Buffer
	if err := WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	}
	if got == want.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not up to date: go test ./internal/config -update", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsShownCanBeReadAgain(t *testing.T) {
	n := newNode(t)
	n.write("config.toml", "root = \"/srv/\\\"odd\\\" \\\\ dir\"\n[cni]\nsubnets = [\"10.0.0.0/24\", \"fd00::/64\"]\ntimeout = \"90s\"\n")
	c, err := n.load([]string{"CRI_WASMER_COMPILE_MEMORY=1536MiB"}, "--cni-bin-dirs=/a,/b", "--metrics-address=:9464")
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := c.Write(&shown); err != nil {
		t.Fatal(err)
	}
	n.write("config.toml", shown.String())
	again, err := n.load(nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, shown.String())
	}
	if !reflect.DeepEqual(again.Options, c.Options) {
		t.Errorf("read again: %+v\nwant %+v\n%s", again.Options, c.Options, shown.String())
	}
	if want := "# --cni-bin-dirs\n"; !strings.Contains(shown.String(), want) {
		t.Errorf("shown:\n%s\nwant the source %q in it", shown.String(), want)
	}
}

func TestMistakesNameSourceAndRemedy(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  []string
		args []string
		want []string
	}{
		{"a misspelled key", "[cni]\nconf_dirs = \"/x\"\n", nil, nil, []string{"config.toml:2: option cni.conf_dirs: there is no such option; did you mean cni.conf_dir?"}},
		{"a key without its section", "conf_dir = \"/x\"\n", nil, nil, []string{"config.toml:1:", "did you mean cni.conf_dir?"}},
		{"a key that is like none", "\n\nfavourite_colour = \"red\"\n", nil, nil, []string{"config.toml:3:", "config default"}},
		{"a section that does not exist", "[cnii]\nconf_dir = \"/x\"\n", nil, nil, []string{"config.toml:2: option cnii.conf_dir", "did you mean cni.conf_dir?"}},
		{"an empty section that does not exist", "[networks]\n", nil, nil, []string{"config.toml:1: option networks"}},
		{"a section as a key", "cni = \"bridge\"\n", nil, nil, []string{"[cni] is a section"}},
		{"a list of tables", "[[cni]]\nconf_dir = \"/x\"\n", nil, nil, []string{"config.toml:1:", "[cni] is a section"}},
		{"an inline table", "cni = { conf_dir = \"/x\", bogus = 1 }\n", nil, nil, []string{"config.toml:1: option cni.bogus"}},
		{"a dotted key", "cni.bogus = 1\n", nil, nil, []string{"config.toml:1: option cni.bogus"}},
		{"not TOML", "socket = /run/x\n", nil, nil, []string{"config.toml:1:10: not TOML"}},
		{"a key given twice", "socket = \"/a\"\nsocket = \"/b\"\n", nil, nil, []string{"not TOML", "socket"}},
		{"a number for a string", "socket = 1\n", nil, nil, []string{"option socket = 1: want a string in quotes"}},
		{"a string for a list", "[cni]\nbin_dirs = \"/x\"\n", nil, nil, []string{"want a list of strings"}},
		{"a list of numbers", "[cni]\nbin_dirs = [1]\n", nil, nil, []string{"want a list of strings"}},
		{"a string for a boolean", "[cni]\nbundled = \"yes\"\n", nil, nil, []string{"want true or false"}},
		{"a relative path", "root = \"var\"\n", nil, nil, []string{"option root = var: want an absolute path"}},
		{"a value of the environment", "", []string{"CRI_WASMER_CNI_BUNDLED=perhaps"}, nil, []string{"CRI_WASMER_CNI_BUNDLED: option cni.bundled = perhaps: want true or false"}},
		{"a value of a flag", "", nil, []string{"--cgroup-driver=upstart"}, []string{"--cgroup-driver", "want one of auto, cgroupfs, systemd"}},
		{"a flag that does not exist", "", nil, []string{"--cgroup"}, []string{"unknown flag"}},
		{"a duration", "", nil, []string{"--cni-timeout=5"}, []string{"such as 30s"}},
		{"a negative duration", "", nil, []string{"--cni-timeout=-5s"}, []string{"above zero"}},
		{"a size", "", nil, []string{"--compile-memory=3GB"}, []string{"such as 512MiB"}},
		{"a size that overflows", "", nil, []string{"--compile-memory=9000000000GiB"}, []string{"such as 512MiB"}},
		{"a size that is too small", "", nil, []string{"--compile-memory=1MiB"}, []string{"--compile-memory: option compile.memory = 1MiB: the compiler needs 256MiB"}},
		{"permissions", "", nil, []string{"--socket-mode=rw"}, []string{"octal"}},
		{"a number out of bounds", "", nil, []string{"--image-max-downloads=0"}, []string{"from 1 to 1000"}},
		{"an address without a port", "", nil, []string{"--stream-address=127.0.0.1"}, []string{"want host:port"}},
		{"an address with a name", "", nil, []string{"--stream-address=example.com:80"}, []string{"is no IP address"}},
		{"a metrics port that nobody can know", "", nil, []string{"--metrics-address=127.0.0.1:0"}, []string{"not 0"}},
		{"a certificate without key", "[stream]\ntls_cert = \"/c.pem\"\n", nil, nil, []string{"config.toml:2: option stream.tls_cert", "or neither"}},
		{"a subnet", "", nil, []string{"--cni-subnets=10.88.0.0"}, []string{"is no subnet"}},
		{"no subnet", "[cni]\nsubnets = []\n", nil, nil, []string{"config.toml:2: option cni.subnets: the bundled network needs a subnet"}},
		{"a resource limit without a value", "", nil, []string{"--container-rlimits=nofile"}, []string{"such as nofile=1024:4096"}},
		{"an unknown resource", "", nil, []string{"--container-rlimits=files=1"}, []string{"not known, only core, cpu"}},
		{"a resource of the engine", "", nil, []string{"--container-rlimits=as=1000000"}, []string{"the engine's own"}},
		{"a resource limit that is no number", "", nil, []string{"--container-rlimits=core=some"}, []string{"neither a whole number nor unlimited"}},
		{"a soft limit above the hard one", "", nil, []string{"--container-rlimits=nofile=2000:1000"}, []string{"above the hard one"}},
		{"no file but the worker's", "", nil, []string{"--container-rlimits=nofile=3:1000"}, []string{"needs 64 at least"}},
		{"a resource twice", "", nil, []string{"--container-rlimits=core=0,core=1"}, []string{"limited twice"}},
		{"a socket path that is too long", "", nil, []string{"--socket=/" + strings.Repeat("x", 107)}, []string{"at most 107 bytes"}},
		{"a socket that the kubelet mistakes", "", nil, []string{"--socket=/var/run/crio/crio.sock"}, []string{"choose another"}},
		{"state in root", "", nil, []string{"--state=/var/lib/cri-wasmer/state"}, []string{"must be apart"}},
		{"root is state", "", nil, []string{"--root=/run/cri-wasmer"}, []string{"must be apart"}},
		{"a path for systemd", "[cgroup]\ndriver = \"systemd\"\nparent = \"/pods\"\n", nil, nil, []string{"config.toml:3: option cgroup.parent = /pods: with the driver systemd, want the name of a slice"}},
		{"a slice for cgroupfs", "[cgroup]\ndriver = \"cgroupfs\"\nparent = \"a.slice\"\n", nil, nil, []string{"want a path"}},
		{"all at once", "a = 1\n[cni]\nb = 2\n", []string{"CRI_WASMER_LOG_FORMAT=xml"}, nil, []string{"config.toml:1: option a", "config.toml:3: option cni.b", "want one of text, json"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.write("config.toml", tt.file)
			_, err := n.load(tt.env, tt.args...)
			if err == nil {
				t.Fatal("Load = nil, want an error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Load = %v\nwant %q in it", err, want)
				}
			}
		})
	}
}

func TestMistakesAreTyped(t *testing.T) {
	n := newNode(t)
	n.write("config.toml", "sokcet = \"/x\"\n")
	_, err := n.load(nil)
	var e *Error
	if !errors.As(err, &e) || e.Option != "sokcet" {
		t.Errorf("Load = %v, want an *Error for sokcet", err)
	}
}

func TestAFileThatWasAskedForMustExist(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.toml")
	if _, err := Load(nil, []string{configEnv + "=" + missing}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("Load = %v, want an error that names %s", err, missing)
	}
	n := newNode(t)
	n.write("other.toml", "socket_gid = 7\n")
	c, err := n.load(nil, "--config="+filepath.Join(n.dir, "other.toml"))
	if err != nil || c.SocketGID != 7 {
		t.Errorf("Load with --config = %v, want the flag to win over the environment", err)
	}
}

func TestAnEnvironmentVariableThatIsNoOptionIsReported(t *testing.T) {
	n := newNode(t)
	n.write("config.toml", "")
	c, err := n.load([]string{"CRI_WASMER_SOCKETS=/x", "HOME=/root"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Unknown, []string{"CRI_WASMER_SOCKETS"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Unknown = %q, want %q", got, want)
	}
}

func TestListsAndSwitchesAsFlags(t *testing.T) {
	n := newNode(t)
	n.write("config.toml", "[cni]\nbundled = false\n")
	c, err := n.load(nil, "--cni-bin-dirs=/a", "--cni-bin-dirs", "/b, /c/", "--cni-bundled", "--cni-timeout=2m30s")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/a", "/b", "/c"}; !reflect.DeepEqual(c.CNI.BinDirs, want) {
		t.Errorf("bin_dirs = %q, want %q", c.CNI.BinDirs, want)
	}
	if !c.CNI.Bundled || c.CNI.Timeout != 150*time.Second {
		t.Errorf("bundled = %v, timeout = %v, want true and 2m30s", c.CNI.Bundled, c.CNI.Timeout)
	}
}

func TestEveryOptionHasOneNameInEachPlace(t *testing.T) {
	flags, envs, last := map[string]bool{"config": true}, map[string]bool{configEnv: true}, map[string]bool{}
	section := ""
	for _, opt := range Table() {
		if flags[opt.Flag()] || envs[opt.Env()] {
			t.Errorf("%s: its flag or variable names another option", opt.Name())
		}
		flags[opt.Flag()], envs[opt.Env()] = true, true
		if opt.Section != section {
			last[section] = true
			section = opt.Section
		}
		if last[section] {
			t.Errorf("%s: its section is not in one piece", opt.Name())
		}
		if opt.Help == "" || strings.ToLower(opt.Name()) != opt.Name() {
			t.Errorf("%s: want a help text and a name in lower case", opt.Name())
		}
		var o Options
		v := opt.value(&o)
		v.reset()
		text := v.text()
		if err := v.setText(text); err != nil || v.text() != text {
			t.Errorf("%s: %q does not survive being set: %q, %v", opt.Name(), text, v.text(), err)
		}
	}
}

func TestSizesAndDurationsAreShownShort(t *testing.T) {
	for n, want := range map[int64]string{1: "1B", 1536 << 20: "1536MiB", 3 << 30: "3GiB", 1 << 40: "1TiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{time.Minute: "1m", 2 * time.Hour: "2h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", time.Hour + time.Second: "1h0m1s"} {
		if got := shortDuration(d); got != want {
			t.Errorf("shortDuration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestTheWorkerIsFoundBesideTheDaemon(t *testing.T) {
	o := defaults()
	if _, err := o.WorkerPath(); err == nil || !strings.Contains(err.Error(), "make worker") {
		t.Errorf("WorkerPath = %v, want how to get one", err)
	}
	o.Worker = filepath.Join(t.TempDir(), "w")
	if err := os.WriteFile(o.Worker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := o.WorkerPath(); err == nil || !strings.Contains(err.Error(), "no executable file") {
		t.Errorf("WorkerPath of a file without permission = %v, want an error", err)
	}
	if err := os.Chmod(o.Worker, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := o.WorkerPath(); err != nil || got != o.Worker {
		t.Errorf("WorkerPath = %q, %v, want %q", got, err, o.Worker)
	}
	if got := o.PluginDirs(); len(got) != 3 || got[0] != "/opt/cni/bin" || filepath.Base(got[1]) != "cni" {
		t.Errorf("PluginDirs = %q, want the configured one, then two of the bundled plugins", got)
	}
}

// FuzzFile: whatever a file holds, loading it ends in options or in an error,
// and what was accepted can be shown and read again.
func FuzzFile(f *testing.F) {
	var b bytes.Buffer
	if err := WriteDefault(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add("cni = { subnets = ['10.0.0.0/8'] }\n[log]\nlevel='warn'")
	f.Add("[[a.b]]\nc=1\n")
	f.Fuzz(func(t *testing.T, content string) {
		file := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := Load(nil, []string{configEnv + "=" + file})
		if err != nil {
			return
		}
		var shown bytes.Buffer
		if err := c.Write(&shown); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, shown.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		again, err := Load(nil, []string{configEnv + "=" + file})
		if err != nil || !reflect.DeepEqual(again.Options, c.Options) {
			t.Fatalf("read again: %v\n%s", err, shown.String())
		}
	})
}

func TestOnlyFurtherDaemonsHaveASuffix(t *testing.T) {
	suffix := func(state string) string { return (Options{State: state}).Suffix() }
	if got := suffix(defaultState); got != "" {
		t.Errorf("the first daemon has the suffix %q", got)
	}
	one, other := suffix("/run/one"), suffix("/run/other")
	if one == other || one != suffix("/run/one") || !regexp.MustCompile(`^_[0-9a-f]{8}$`).MatchString(one) {
		t.Errorf("suffixes %q and %q", one, other)
	}
}
