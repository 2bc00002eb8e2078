package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// system writes files of a system below a directory and gives that.
func system(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func run(t *testing.T, root string, argv ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	c := &applet.Ctx{
		Name: argv[0], In: strings.NewReader(""), Out: applet.NewOutput(&o), Err: &e, Dir: "/", Root: root,
		Life: t.Context(), Env: []string{"A=1"},
	}
	code, ok := Programs().Run(c, argv)
	if !ok {
		t.Fatalf("no program %s", argv[0])
	}
	return o.String(), e.String(), code
}

const status = "Name:\tsh\nUid:\t1001\t1000\t1000\t1000\nGid:\t1002\t1002\t1002\t1002\nGroups:\t1002 1234 5678 \n"

func TestIdentityComesFromTheKernel(t *testing.T) {
	root := system(t, map[string]string{
		"proc/self/status": status,
		"etc/passwd":       "root:x:0:0::/:\nuser:x:1000:1002:a:/home:/bin/sh\n",
		"etc/group":        "g:x:1002:\nextra:x:7:other,user\n",
	})
	for argv, want := range map[string]string{
		"id -u":      "1000\n",
		"id -ru":     "1001\n",
		"id -g":      "1002\n",
		"id -G":      "1002 1234 5678\n",
		"id -nu":     "user\n",
		"id -ng":     "g\n",
		"id":         "uid=1000(user) gid=1002(g) groups=1002(g),1234,5678\n",
		"id -G user": "1002 7\n",
		"whoami":     "user\n",
		"nnp":        "Effective uid: 1000\n",
	} {
		if out, errs, code := run(t, root, strings.Fields(argv)...); out != want || errs != "" || code != 0 {
			t.Errorf("%s: got %q, %q, %d, want %q", argv, out, errs, code, want)
		}
	}
	if _, errs, code := run(t, root, "id", "nobody"); code != 1 || errs != "id: Unknown user nobody\n" {
		t.Errorf("id nobody: got %q, %d", errs, code)
	}
}

func stat(comm string) string { return "7 (" + comm + ") S 1 " + strings.Repeat("0 ", 40) }

func TestProcessesAreFoundByNameAndTitle(t *testing.T) {
	root := system(t, map[string]string{
		"proc/1/stat":     stat("init"),
		"proc/1/cmdline":  "/sbin/init\x00",
		"proc/20/stat":    stat("nginx"),
		"proc/20/cmdline": "/usr/sbin/nginx\x00nginx: master process\x00",
		"proc/30/stat":    stat("odd) (name"),
		"proc/30/cmdline": "",
		"proc/40/stat":    stat("pgrep"), // this process
		"proc/40/cmdline": "pgrep\x00nginx\x00",
		"proc/50/cmdline": "no stat\x00", // it has just ended
		"proc/version":    "",
	})
	if err := os.Symlink("40", filepath.Join(root, "proc/self")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv string
		out  string
		code int
	}{
		{"pgrep nginx", "20\n", 0},
		{"pgrep -f master", "20\n", 0},
		{"pgrep -l ngi", "20 nginx\n", 0},
		{"pgrep -x ngi", "", 1},
		{"pgrep pgrep", "", 1},
		{"pgrep sleep", "", 1},
		{"pidof nginx || true", "20\n", 0},
		{"pidof /sbin/init nginx", "20 1\n", 0},
		{"pidof nosuch", "", 1},
		{"kill -0 20", "", 0},
	} {
		if out, errs, code := run(t, root, strings.Fields(c.argv)...); out != c.out || errs != "" || code != c.code {
			t.Errorf("%s: got %q, %q, %d, want %q, %d", c.argv, out, errs, code, c.out, c.code)
		}
	}
	if out, _, _ := run(t, root, "ps"); !strings.Contains(out, "nginx: master process\n") || !strings.Contains(out, "[odd) (name]\n") {
		t.Errorf("ps: got %s", out)
	}
	if _, errs, code := run(t, root, "kill", "20", "99"); code != 1 ||
		errs != "kill: can't kill pid 20: Function not implemented\nkill: can't kill pid 99: No such process\n" {
		t.Errorf("kill: got %q, %d", errs, code)
	}
	if out, _, code := run(t, root, "top", "-n", "1"); code != 0 || !strings.Contains(out, "/sbin/init") {
		t.Errorf("top: got %s, %d", out, code)
	}
}

func TestNetstatReadsTheKernelsTables(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
	root := system(t, map[string]string{
		"proc/net/tcp": head + "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:0 0\n" +
			"   1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:0 0\n",
		"proc/net/tcp6": head + "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0\n" +
			"   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0\n" +
			"   2: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0\n",
	})
	out, errs, code := run(t, root, "netstat", "-ln")
	if errs != "" || code != 0 {
		t.Fatalf("got %q, %d", errs, code)
	}
	for _, want := range []string{
		"tcp        2      0 127.0.0.1:8080          0.0.0.0:*               LISTEN\n", " :::80 ", " ::ffff:127.0.0.1:81 ", " 2001:db8::1:82 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "40000") {
		t.Errorf("a connection is listed:\n%s", out)
	}
	if out, _, _ := run(t, root, "netstat", "-n"); !strings.Contains(out, "127.0.0.1:40000") || strings.Contains(out, "LISTEN") {
		t.Errorf("without -l got\n%s", out)
	}
}

func TestIpcsHasNoDigitWithoutObjects(t *testing.T) {
	const head = "       key      shmid perms       size  cpid  lpid nattch   uid\n"
	root := system(t, map[string]string{"proc/sysvipc/shm": head})
	out, _, code := run(t, root, "ipcs", "-m")
	if code != 0 || strings.ContainsAny(out, "0123456789") || !strings.Contains(out, "shmid") {
		t.Errorf("got %q, %d", out, code)
	}
	root = system(t, map[string]string{"proc/sysvipc/shm": head + "         5         77   600    1048576    10     0      1     0\n"})
	if out, _, _ := run(t, root, "ipcs", "-m"); !strings.Contains(out, "5          77         0          600        1048576") {
		t.Errorf("got %q", out)
	}
}

func TestSystemFilesAreShown(t *testing.T) {
	root := system(t, map[string]string{
		"proc/sys/kernel/hostname": "host.example\n", "proc/sys/kernel/ostype": "Linux\n",
		"proc/uptime": "93784.5 1.0\n", "proc/loadavg": "0.1 0.2 0.3 1/2 3\n",
		"proc/meminfo": "MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 600 kB\n",
	})
	for argv, want := range map[string]string{
		"hostname":    "host.example\n",
		"hostname -s": "host\n",
		"uname":       "Linux\n",
		"uname -nm":   "host.example wasm32\n",
		"uptime":      " up 1 days, 2:03,  load average: 0.1, 0.2, 0.3\n",
		"printenv A":  "1\n",
		"tty -s":      "",
	} {
		if out, _, _ := run(t, root, strings.Fields(argv)...); out != want {
			t.Errorf("%s: got %q, want %q", argv, out, want)
		}
	}
	if out, _, _ := run(t, root, "free"); !strings.Contains(out, "Mem:           1000         400         400\n") {
		t.Errorf("free: got %q", out)
	}
	if _, errs, code := run(t, root, "hostname", "new"); code != 1 || errs != "hostname: sethostname: Function not implemented\n" {
		t.Errorf("hostname new: got %q, %d", errs, code)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1s", "0.5": "500ms", "2m": "2m0s", "1h": "1h0m0s", "infinity": forever.String(), "1e30": forever.String(),
	} {
		if got, ok := duration(text); !ok || got.String() != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1x"} {
		if got, ok := duration(text); ok {
			t.Errorf("%q: got %v, want a refusal", text, got)
		}
	}
}
