package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"k8s.io/client-go/tools/remotecommand"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// sh runs a script of the published toolbox.
func (c *container) sh(script string) string {
	c.t.Helper()
	return c.exec("sh", "-c", script)
}

// shellPod runs the published toolbox as a container that waits.
func shellPod(t *testing.T, n *node) *container {
	t.Helper()
	return n.hostPod(t).run(criclient.ContainerSpec{Image: n.shell(t), Command: []string{"top"}})
}

func TestToolboxShell(t *testing.T) {
	n := sharedNode(t)
	c := shellPod(t, n)
	c.sh("mkdir -p /tmp/d/e && printf 'b\\na\\nc\\n' > /tmp/d/f && ln -s f /tmp/d/s && ln /tmp/d/f /tmp/d/h")
	for name, tc := range map[string]struct{ script, want string }{
		"pipe and loop":     {`for i in $(seq 1 3); do echo n$i; done | grep -v n2`, "n1\nn3\n"},
		"while with a pipe": {`i=0; while ! echo $i | grep -q 3; do i=$((i+1)); done; echo $i`, "3\n"},
		"exit code":         {`false || echo $?; (exit 7); echo $?`, "1\n7\n"},
		"redirections":      {`echo out > /tmp/o; (echo err >&2) 2>>/tmp/o; cat < /tmp/o; ls /nowhere 2>&1 | wc -l`, "out\nerr\n1\n"},
		"here document":     {"cat <<X\na$((1+1))\nX", "a2\n"},
		"ls":                {`ls -A /tmp/d; ls -l /tmp/d/f | wc -l`, "e\nf\nh\ns\n1\n"},
		"sort, head, tail":  {`sort /tmp/d/f | head -n 2 | tail -n 1`, "b\n"},
		"wc":                {`wc -l < /tmp/d/f`, "3\n"},
		"find":              {`find /tmp/d -type d -name e`, "/tmp/d/e\n"},
		"cp, mv, rm":        {`cp -r /tmp/d /tmp/g; mv /tmp/g/f /tmp/g/k; rm -rf /tmp/g/e; ls /tmp/g; rm -r /tmp/g; ls -d /tmp/g 2>/dev/null || echo gone`, "h\nk\ns\ngone\n"},
		"links":             {`readlink /tmp/d/s; cat /tmp/d/s | tail -n 1`, "f\nc\n"},
		"environment":       {`A=b env | grep ^A=; export C=d; printenv C`, "A=b\nd\n"},
		"date":              {`date -u -d @0 +%Y`, "1970\n"},
		"tar":               {`cd /tmp/d && tar cf /tmp/t.tar f s && mkdir /tmp/x && tar xf /tmp/t.tar -C /tmp/x && cat /tmp/x/f | head -n 1; tar tf /tmp/t.tar`, "b\nf\ns\n"},
		"gzip":              {`echo packed | gzip | gunzip`, "packed\n"},
		"identity":          {`id -u; pgrep top`, "0\n1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.sh(tc.script); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.script, got, tc.want)
			}
		})
	}
}

func TestToolboxServesAndFetches(t *testing.T) {
	n := sharedNode(t)
	p := n.pod(t, criclient.PodSpec{})
	p.run(criclient.ContainerSpec{Name: "server", Image: n.shell(t), Command: []string{"sh", "-c", "mkdir /www; echo served > /www/page; httpd -f -p 8080 -h /www"}})
	c := p.run(criclient.ContainerSpec{Name: "client", Image: n.shell(t), Command: []string{"top"}})
	eventually(t, "the page", func() bool {
		r, err := n.Client.Exec(t.Context(), c.id, 30, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/page")
		return err == nil && string(r.Stdout) == "served\n"
	})
	if got := c.sh(`printf 'GET /page HTTP/1.0\r\n\r\n' | nc 127.0.0.1 8080 | tail -n 1`); got != "served\n" {
		t.Errorf("nc gets %q", got)
	}
}

func TestToolboxPromptsOnATerminal(t *testing.T) {
	n := sharedNode(t)
	c := shellPod(t, n)
	s := talk(t, "SPDY", true, func(o remotecommand.StreamOptions) string { return c.execURL(o, "sh") })
	s.expect("/ # ")
	s.say("cd /tmp\n")
	s.expect("/tmp # ")
	s.say("echo $((6*7)) | cat\n")
	s.expect("42\r\n/tmp # ")
	s.say("exit 5\n")
	if code := exitCode(t, s.end()); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
}

// What kubectl cp does, in either direction.
func TestToolboxCopiesFilesAsKubectlDoes(t *testing.T) {
	n := sharedNode(t)
	c := shellPod(t, n)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, text := range map[string]string{"in/small": "small\n", "in/deep/big": big} {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o640, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		must(t, err)
	}
	must(t, w.Close())
	eachTransport(t, func(t *testing.T, transport string) {
		c.sh("rm -rf /tmp/to; mkdir -p /tmp/to; test -d /tmp/to")
		in := remotecommand.StreamOptions{Stdin: bytes.NewReader(archive.Bytes()), Stdout: io.Discard, Stderr: io.Discard}
		must(t, c.stream(t.Context(), transport, in, "tar", "-xmf", "-", "-C", "/tmp/to"))
		var back bytes.Buffer
		must(t, c.stream(t.Context(), transport, remotecommand.StreamOptions{Stdout: &back, Stderr: io.Discard}, "tar", "cf", "-", "/tmp/to/in"))
		files := untar(t, &back)
		if files["tmp/to/in/small"] != "small\n" || files["tmp/to/in/deep/big"] != big {
			t.Errorf("came back: small %q, big of %d bytes, want %d", files["tmp/to/in/small"], len(files["tmp/to/in/deep/big"]), len(big))
		}
	})
}

// untar gives the regular files of an archive.
func untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		text, err := io.ReadAll(archive)
		must(t, err)
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(h.Name, "/")] = string(text)
		}
	}
}

// debug runs a container that joins the processes of another, as kubectl debug
// --target does.
func debug(c *container, image string, change func(containerConfig)) *container {
	c.t.Helper()
	config := criclient.ContainerSpec{Name: c.pod.node.unique("debugger"), Image: image, Command: []string{"sh"}}.Config()
	config.Stdin, config.Tty = true, true
	config.Linux.SecurityContext.NamespaceOptions = &runtime.NamespaceOption{
		Network: c.pod.config.Linux.SecurityContext.NamespaceOptions.GetNetwork(), Pid: runtime.NamespaceMode_TARGET, TargetId: c.id,
	}
	change(config)
	d := c.pod.createFrom(config)
	d.start()
	return d
}

func TestDebuggerSeesItsTarget(t *testing.T) {
	n := sharedNode(t)
	volume := writeFile(t, "in.txt", "of a volume\n")
	target := n.hostPod(t).run(criclient.ContainerSpec{
		Name: "target", Image: n.toolbox(t), Args: []string{"top"},
		Mounts: []*runtime.Mount{{HostPath: volume, ContainerPath: "/mnt/dir"}},
	})
	target.waitLine("up")
	d := debug(target, n.shell(t), func(containerConfig) {})
	s := talk(t, "SPDY", true, d.attachURL)
	s.say("cat /proc/1/root/etc/marker; pgrep tool\n")
	s.expect("made by the image\r\n1\r\n")
	s.say("exit\n")
	must(t, s.end())

	d = debug(target, n.shell(t), func(containerConfig) {})
	for script, want := range map[string]string{
		"cat /proc/1/root/etc/marker":                                                                       "made by the image\n",
		"cat /proc/1/root/mnt/dir/in.txt":                                                                   "of a volume\n",
		"cat /etc/marker 2>/dev/null || echo not mine":                                                      "not mine\n",
		"ls -d /proc/1/root/mnt; cd /proc/1/root/mnt && ls -a":                                              "/proc/1/root/mnt\n.\n..\ndir\n",
		"echo written > /proc/1/root/data/by-debugger; ls /proc/1/root/data":                                "by-debugger\n",
		"ls /proc/1/root/../../../bin/top /proc/1/root/bin/tool":                                            "/proc/1/root/../../../bin/top\n/proc/1/root/bin/tool\n",
		"ln -s ../etc/marker /proc/1/root/data/link; cat /proc/1/root/data/link; rm /proc/1/root/data/link": "made by the image\n",
		"tr '\\0' ' ' < /proc/1/cmdline | grep -c top":                                                      "1\n",
	} {
		if got := d.sh(script); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	if got := target.exec("cat", "/data/by-debugger"); got != "written\n" {
		t.Errorf("the target reads %q", got)
	}
}

// Another user than root or the target's finds no way in.
func TestDebuggerOfAnotherUser(t *testing.T) {
	n := sharedNode(t)
	target := n.hostPod(t).run(criclient.ContainerSpec{Name: "target", Image: n.toolbox(t), Args: []string{"top"}})
	target.waitLine("up")
	d := debug(target, n.shell(t), func(c containerConfig) {
		c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1000}
	})
	if got := d.sh("cat /proc/1/root/etc/marker 2>/dev/null || echo refused"); got != "refused\n" {
		t.Errorf("got %q", got)
	}
}

func TestTargetsAreOfTheSamePod(t *testing.T) {
	n := sharedNode(t)
	target := n.hostPod(t).run(criclient.ContainerSpec{Name: "target", Image: n.toolbox(t), Args: []string{"top"}})
	other := n.hostPod(t)
	for name, tc := range map[string]struct {
		target string
		code   codes.Code
	}{
		"of another pod": {target.id, codes.InvalidArgument},
		"unknown":        {"unknown", codes.NotFound},
	} {
		config := criclient.ContainerSpec{Name: other.node.unique("debugger"), Image: n.shell(t)}.Config()
		config.Linux.SecurityContext.NamespaceOptions = &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE, Pid: runtime.NamespaceMode_TARGET, TargetId: tc.target}
		_, err := n.Client.Create(t.Context(), other.id, other.config, config)
		wantCode(t, "target "+name, err, tc.code)
	}
}
