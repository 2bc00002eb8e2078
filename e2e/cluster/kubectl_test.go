package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var kubectlScenarios = []scenario{
	{name: "kubectl logs: of one container, followed, since, tail, previous, all containers", core: true, run: logs},
	{name: "kubectl exec: output, exit codes, stdin", core: true, run: execs},
	{name: "kubectl cp: files and directories, both ways", run: copies},
	{name: "kubectl attach: output and input of a running container", run: attach},
	{name: "kubectl run: attached to programs that end at once", run: runAttached},
	{name: "kubectl port-forward", run: portForward},
	{name: "kubectl debug: an ephemeral container in a running pod", run: debug},
	{name: "kubectl top: CPU and memory of node, pod and containers, by metrics-server", run: top},
	{name: "kubectl top's sources: stats summary and resource metrics of the kubelet", run: statistics},
}

func logs(t *testing.T, n *namespace) {
	n.runPod("talk", `
	  restartPolicy: Never
	  containers:
	  - name: one
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "for i in 1 2 3 4; do echo one $i; done; while [ ! -e /tmp/end ]; do sleep 0.1; done; echo one 5"]
	  - {name: two, image: "registry.test/toolbox:v1", command: [sh, -c, "echo two; echo oops >&2"]}
	`)
	n.waitFor("jsonpath={.status.containerStatuses[0].started}=true", "pod/talk")
	follow := n.follow("", "logs", "talk", "-c", "one", "-f")
	follow.until("one 4\n")
	n.execAndEnd("talk", "-c", "one", "--", "touch", "/tmp/end")
	if got, err := follow.wait(); err != nil || got != "one 1\none 2\none 3\none 4\none 5\n" { // ends with the container
		t.Errorf("kubectl logs -f: got %q, %v", got, err)
	}
	n.waitPhase("talk", "Succeeded")
	n.wantLog("two\noops\n", "talk", "-c", "two")
	n.wantLog("one 5\n", "talk", "-c", "one", "--tail=1")
	n.wantLog("", "talk", "-c", "one", "--since-time="+time.Now().Add(time.Hour).Format(time.RFC3339))
	n.wantLog("two\noops\n", "talk", "-c", "two", "--since=1h")
	all := n.kubectl("logs", "talk", "--all-containers") // which comes first is kubectl's choice
	if one, two := "one 1\none 2\none 3\none 4\none 5\n", "two\noops\n"; all != one+two && all != two+one {
		t.Errorf("kubectl logs --all-containers: got %q, want %q and %q", all, one, two)
	}

	n.runPod("again", `
	  restartPolicy: OnFailure
	  volumes: [{name: state, emptyDir: {}}]
	  containers:
	  - name: again
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "if [ -e /state/ran ]; then echo second; sleep inf; fi; echo first; touch /state/ran; exit 1"]
	    volumeMounts: [{name: state, mountPath: /state}]
	`)
	n.waitRestarts("again", 1)
	n.ready("again")
	n.wantLog("first\n", "again", "--previous")
	n.wantEventualLog("second\n", "again")
}

func execs(t *testing.T, n *namespace) {
	n.runPod("box", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: box, image: "registry.test/toolbox:v1", command: [sleep, inf], env: [{name: COLOUR, value: blue}]}
	`)
	n.ready("box")
	if got := n.kubectl("exec", "box", "--", "sh", "-c", "echo $COLOUR; hostname"); got != "blue\nbox\n" {
		t.Errorf("exec gives %q", got)
	}
	n.fails(7, []string{"exit code 7"}, "exec", "box", "--", "sh", "-c", "exit 7")
	n.fails(1, []string{"/no/such/program", "no such file"}, "exec", "box", "--", "/no/such/program")
	got, err := n.tryWith("some input\n", "exec", "-i", "box", "--", "tr", "a-z", "A-Z")
	if err != nil || got != "SOME INPUT\n" {
		t.Errorf("exec -i gives %q, %v", got, err)
	}
}

func copies(t *testing.T, n *namespace) {
	n.runPod("box", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: box, image: "registry.test/toolbox:v1", command: [sleep, inf]}
	`)
	n.ready("box")
	dir := t.TempDir()
	big := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	for name, content := range map[string]string{"one": "small\n", "deep/two": big} {
		file := filepath.Join(dir, "tree", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.kubectl("cp", filepath.Join(dir, "tree"), "box:/tmp/tree")
	if got := n.kubectl("exec", "box", "--", "wc", "-c", "/tmp/tree/deep/two"); !strings.Contains(got, fmt.Sprint(len(big))) {
		t.Errorf("the file in the container has %q", got)
	}
	n.kubectl("cp", "box:/tmp/tree", filepath.Join(dir, "back"))
	wantFile(t, filepath.Join(dir, "back", "one"), "small\n")
	wantFile(t, filepath.Join(dir, "back", "deep", "two"), big)
}

func wantFile(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s: got %d bytes %.40q, want %d bytes %.40q", filepath.Base(file), len(got), got, len(want), want)
	}
}

func attach(t *testing.T, n *namespace) {
	n.runPod("parrot", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: parrot, image: "registry.test/toolbox:v1", stdin: true, stdinOnce: true, command: [sh, -c, "while read line; do echo you say $line; done; echo bye; sleep inf"]}
	`)
	n.ready("parrot")
	talk := n.follow("one\ntwo\n", "attach", "-i", "-q", "parrot")
	if got := talk.until("bye\n"); !strings.HasSuffix(got, "you say one\nyou say two\nbye\n") {
		t.Errorf("attach gives %q", got)
	}
	talk.stop() // its container goes on
	n.wantEventualLog("you say one\nyou say two\nbye\n", "parrot")
}

// runAttached talks to programs that end as soon as they have answered. What one
// printed before kubectl came, kubectl takes from the log: before it attaches, and
// when that fails again from the second in which it looked, so that it may show the
// same twice.
func runAttached(t *testing.T, n *namespace) {
	const image = "--image=" + publicHost + "/toolbox:v1"
	for i := range 5 {
		name := fmt.Sprintf("asked-%d", i)
		got, err := n.tryWith("hello\n", "run", name, "-i", "--rm", "--restart=Never", "--quiet", image, "--", "sh", "-c", "read x; echo you say $x")
		if err != nil || !strings.HasPrefix(got, "you say hello\n") {
			t.Errorf("kubectl run -i --rm gives %q, %v", got, err)
		}
		if left := n.kubectl("get", "pods", "--ignore-not-found", name); left != "" {
			t.Errorf("kubectl run --rm leaves %q", left)
		}
	}
	got := n.kubectl("run", "told", "--attach", "--restart=Never", "--quiet", image, "--", "echo", "hello")
	if got != "hello\n" && got != "hello\nhello\n" {
		t.Errorf("kubectl run --attach gives %q", got)
	}
	n.fails(7, nil, "run", "failing", "-i", "--rm", "--restart=Never", "--quiet", image, "--", "sh", "-c", "exit 7")
}

func portForward(t *testing.T, n *namespace) {
	n.runPod("web", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: web, image: "registry.test/toolbox:v1", command: [httpd, -p, "8080", -t, forwarded], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}}
	`)
	n.ready("web")
	forward := n.follow("", "port-forward", "pod/web", ":8080", "--address", "127.0.0.1")
	line := forward.until("\n")
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+) ->`).FindStringSubmatch(line)
	if port == nil {
		t.Fatalf("port-forward says %q", line)
	}
	for range 3 {
		n.wantPage("http://127.0.0.1:"+port[1]+"/", "forwarded\n")
	}
	forward.stop()
	if complaint := forward.stderr.String(); complaint != "" {
		t.Errorf("port-forward complains: %s", complaint)
	}
}

func debug(t *testing.T, n *namespace) {
	n.runPod("web", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: web, image: "registry.test/httpd-go:v1", args: [serve, ":8080"], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}}
	`)
	n.ready("web")
	n.kubectl("debug", "web", "--image="+publicHost+"/toolbox:v1", "--container=look", "--target=web", "--profile=general", "--",
		"sh", "-c", "wget -q -O - http://127.0.0.1:8080/debug; ls /proc/1/root/app.wasm; ps | grep -c serve")
	if end := n.terminated("web", "look"); end.ExitCode != 0 {
		t.Errorf("the debug container ended with %+v", end)
	}
	if log := n.kubectl("logs", "web", "-c", "look"); !strings.HasPrefix(log, "hello /debug from HTTP/1.1\n/proc/1/root/app.wasm\n") || strings.HasSuffix(log, "\n0\n") {
		t.Errorf("the debug container writes %q, want the page, the file and the process of its target", log)
	}
}
