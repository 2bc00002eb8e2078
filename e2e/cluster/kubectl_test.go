package cluster

import (
	"bufio"
	"context"
	"encoding/json"
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
	{name: "kubectl port-forward", run: portForward},
	{name: "kubectl debug: an ephemeral container in a running pod", run: debug},
	{name: "kubectl top's sources: stats summary and resource metrics of the kubelet", run: statistics},
}

func logs(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: talk}
	spec:
	  restartPolicy: Never
	  containers:
	  - name: one
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "for i in 1 2 3 4 5; do echo one $i; sleep 0.2; done"]
	  - {name: two, image: "registry.test/toolbox:v1", command: [sh, -c, "echo two; echo oops >&2"]}
	`)
	n.waitFor("jsonpath={.status.containerStatuses[0].started}=true", "pod/talk")
	n.wantLog("one 1\none 2\none 3\none 4\none 5\n", "talk", "-c", "one", "-f") // ends with the container
	n.waitPhase("talk", "Succeeded")
	n.wantLog("two\noops\n", "talk", "-c", "two")
	n.wantLog("one 5\n", "talk", "-c", "one", "--tail=1")
	n.wantLog("", "talk", "-c", "one", "--since-time="+time.Now().Add(time.Hour).Format(time.RFC3339))
	n.wantLog("two\noops\n", "talk", "-c", "two", "--since=1h")
	all := n.kubectl("logs", "talk", "--all-containers") // which comes first is kubectl's choice
	if one, two := "one 1\none 2\none 3\none 4\none 5\n", "two\noops\n"; all != one+two && all != two+one {
		t.Errorf("kubectl logs --all-containers: got %q, want %q and %q", all, one, two)
	}

	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: again}
	spec:
	  restartPolicy: OnFailure
	  volumes: [{name: state, emptyDir: {}}]
	  containers:
	  - name: again
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "if [ -e /state/ran ]; then echo second; sleep inf; fi; echo first; touch /state/ran; exit 1"]
	    volumeMounts: [{name: state, mountPath: /state}]
	`)
	n.waitRestarts("again", 1)
	n.waitFor("condition=ready", "pod/again")
	n.wantLog("first\n", "again", "--previous")
	n.wantEventualLog("second\n", "again")
}

func execs(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: box}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: box, image: "registry.test/toolbox:v1", command: [sleep, inf], env: [{name: COLOUR, value: blue}]}
	`)
	n.waitFor("condition=ready", "pod/box")
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

const boxYAML = `
	apiVersion: v1
	kind: Pod
	metadata: {name: box}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: box, image: "registry.test/toolbox:v1", command: [sleep, inf]}
`

func copies(t *testing.T, n *namespace) {
	n.apply(boxYAML)
	n.waitFor("condition=ready", "pod/box")
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
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: parrot}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: parrot, image: "registry.test/toolbox:v1", stdin: true, stdinOnce: true, command: [sh, -c, "while read line; do echo you say $line; done; echo bye; sleep inf"]}
	`)
	n.waitFor("condition=ready", "pod/parrot")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := n.c.Command(ctx, "-n", n.name, "attach", "-i", "-q", "parrot")
	cmd.Stdin = strings.NewReader("one\ntwo\n")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for lines := bufio.NewScanner(out); !strings.HasSuffix(got.String(), "bye\n") && lines.Scan(); {
		got.WriteString(lines.Text() + "\n")
	}
	cancel()
	_ = cmd.Wait() // it was killed: its container goes on
	if !strings.HasSuffix(got.String(), "you say one\nyou say two\nbye\n") {
		t.Errorf("attach gives %q", &got)
	}
	n.wantEventualLog("you say one\nyou say two\nbye\n", "parrot")
}

func portForward(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: web}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: web, image: "registry.test/toolbox:v1", command: [httpd, -p, "8080", -t, forwarded], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}}
	`)
	n.waitFor("condition=ready", "pod/web")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := n.c.Command(ctx, "-n", n.name, "port-forward", "pod/web", ":8080", "--address", "127.0.0.1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+) ->`).FindStringSubmatch(line)
	if err != nil || port == nil {
		t.Fatalf("port-forward says %q, %v", line, err)
	}
	for range 3 {
		wantPage(n, "http://127.0.0.1:"+port[1]+"/", "forwarded\n")
	}
	cancel()
	_ = cmd.Wait() // it was killed
	if stderr.Len() > 0 {
		t.Errorf("port-forward complains: %s", &stderr)
	}
}

func debug(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: web}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: web, image: "registry.test/httpd-go:v1", args: [serve, ":8080"]}
	`)
	n.waitFor("condition=ready", "pod/web")
	n.kubectl("debug", "web", "--image="+publicHost+"/toolbox:v1", "--container=look", "--target=web", "--profile=general", "--",
		"sh", "-c", "wget -q -O - http://127.0.0.1:8080/debug; ls /proc/1/root/app.wasm; ps | grep -c serve")
	if end := n.terminated("web", "look"); end.ExitCode != 0 {
		t.Errorf("the debug container ended with %+v", end)
	}
	if log := n.kubectl("logs", "web", "-c", "look"); !strings.HasPrefix(log, "hello /debug from HTTP/1.1\n/proc/1/root/app.wasm\n") || strings.HasSuffix(log, "\n0\n") {
		t.Errorf("the debug container writes %q, want the page, the file and the process of its target", log)
	}
}

func statistics(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: busy}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: busy, image: "registry.test/spin-c:v1", resources: {limits: {cpu: 100m, memory: 64Mi}}}
	`)
	n.waitFor("condition=ready", "pod/busy")
	node := "/api/v1/nodes/" + n.c.NodeName() + "/proxy"
	n.eventually("figures of the pod in the summary", func() error {
		data, err := n.c.Raw(t.Context(), node+"/stats/summary")
		if err != nil {
			return err
		}
		return checkSummary(data, n.name)
	})
	n.eventually("figures of the container among the resource metrics", func() error {
		data, err := n.c.Raw(t.Context(), node+"/metrics/resource")
		if err != nil {
			return err
		}
		for _, metric := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"} {
			sample := regexp.MustCompile(metric + `\{container="busy",namespace="` + n.name + `",pod="busy"\} [1-9.]`)
			if !sample.Match(data) {
				return fmt.Errorf("no %s of the container", metric)
			}
		}
		return nil
	})
}

// checkSummary wants figures of the one pod of a namespace.
func checkSummary(data []byte, namespace string) error {
	var summary struct {
		Pods []struct {
			PodRef     struct{ Namespace string }
			CPU        struct{ UsageCoreNanoSeconds int64 }
			Memory     struct{ WorkingSetBytes int64 }
			Network    struct{ RxBytes int64 }
			Containers []struct {
				CPU    struct{ UsageNanoCores int64 }
				Memory struct{ WorkingSetBytes int64 }
				Rootfs struct{ CapacityBytes int64 }
				Logs   struct{ CapacityBytes int64 }
			}
		}
	}
	if err := json.Unmarshal(data, &summary); err != nil {
		return err
	}
	for _, pod := range summary.Pods {
		if pod.PodRef.Namespace != namespace || len(pod.Containers) == 0 {
			continue
		}
		c := pod.Containers[0]
		for name, value := range map[string]int64{
			"CPU of the pod": pod.CPU.UsageCoreNanoSeconds, "memory of the pod": pod.Memory.WorkingSetBytes,
			"CPU": c.CPU.UsageNanoCores, "memory": c.Memory.WorkingSetBytes, "root": c.Rootfs.CapacityBytes, "logs": c.Logs.CapacityBytes,
		} {
			if value == 0 {
				return fmt.Errorf("%s is 0", name)
			}
		}
		return nil
	}
	return fmt.Errorf("the summary has no pod of namespace %s with a container", namespace)
}
