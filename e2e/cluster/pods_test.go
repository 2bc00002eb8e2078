package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var podScenarios = []scenario{
	{name: "Exit codes: 0, 3, a trap, memory over the limit", core: true, run: exitCodes},
	{name: "Deletion: graceful, then nothing is left in the runtime", core: true, run: deletion},
	{name: "Deletion by force", run: forceDeletion},
	{name: "Environment from fields, resources, ConfigMaps and Secrets", run: environment},
	{name: "Init containers run in order before the others; one that fails holds them up", run: initContainers},
	{name: "Sidecar: an init container that goes on, and ends after the Job that it serves", run: sidecar},
	{name: "Hooks: postStart and preStop by exec, preStop by HTTP and by sleep", run: hooks},
	{name: "Restarts: back-off of a container that fails, restartPolicy OnFailure", run: restarts},
	{name: "Limits are in the control groups; QoS classes", run: limits},
	{name: "Resize in place: limits change while the container runs", run: resize},
	{name: "RuntimeClass with overhead; a handler that is not there is explained", run: runtimeClass},
	{name: "imagePullSecrets: a private registry, with and without", run: pullSecrets},
	{name: "Pull back-off: the reasons can be read", run: pullBackOff},
	{name: "A native image is refused with the reason", run: nativeImage},
	{name: "Host network; two containers share the pod's loopback", run: networks},
	{name: "Shared process namespace", run: sharedProcesses},
	{name: "User namespace (hostUsers: false): root in the pod is nobody on the node, volumes can be written", run: userNamespace},
	{name: "Pod names: hostname, subdomain, hostAliases, DNS settings", run: podNames},
}

func exitCodes(t *testing.T, n *namespace) {
	n.runPod("ends", `
	  restartPolicy: Never
	  containers:
	  - {name: good, image: "registry.test/exit-c:v1", args: ["0"]}
	  - {name: three, image: "registry.test/exit-c:v1", args: ["3"]}
	  - {name: trap, image: "registry.test/trap-c:v1"}
	  - {name: oom, image: "registry.test/oom-c:v1", resources: {limits: {memory: 64Mi}}}
	`)
	for name, want := range map[string]string{"good": "0 Completed", "three": "3 Error", "trap": "134 Trap", "oom": "137 OOMKilled"} {
		end := n.terminated("ends", name)
		if got := fmt.Sprintf("%d %s", end.ExitCode, end.Reason); got != want {
			t.Errorf("container %s: got %s (%s), want %s", name, got, end.Message, want)
		}
	}
}

func deletion(t *testing.T, n *namespace) {
	n.runPod("server", `
	  containers:
	  - {name: server, image: "registry.test/tool-go:v1", args: [top]}
	`)
	n.ready("server")
	uid := string(n.pod("server").UID)
	n.kubectl("delete", "pod", "server", "--timeout", patience.String())
	if running := n.running(uid); len(running) > 0 {
		t.Errorf("a container still runs: %v", running[0])
	}
}

// running lists the containers of a pod that run, as the runtime sees it.
func (n *namespace) running(uid string) []*runtime.Container {
	n.t.Helper()
	list, err := n.c.Server.Client.ListContainers(n.t.Context(), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		State:         &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{"io.kubernetes.pod.uid": uid},
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	return list.Containers
}

func forceDeletion(t *testing.T, n *namespace) {
	n.runPod("busy", `
	  terminationGracePeriodSeconds: 3600
	  containers:
	  - name: busy
	    image: registry.test/spin-c:v1
	    lifecycle: {preStop: {sleep: {seconds: 3600}}}
	`)
	n.ready("busy")
	uid := string(n.pod("busy").UID)
	n.kubectl("delete", "pod", "busy", "--force", "--grace-period=0")
	n.eventually("the end of its container", func() error {
		if running := n.running(uid); len(running) > 0 {
			return fmt.Errorf("it runs: %v", running[0])
		}
		return nil
	})
}

func environment(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: ConfigMap
	metadata: {name: config}
	data: {COLOUR: blue, SIZE: big}
	---
	apiVersion: v1
	kind: Secret
	metadata: {name: secret}
	stringData: {PASSWORD: sesame}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: box, annotations: {note: "a note"}}
	spec:
	  restartPolicy: Never
	  enableServiceLinks: false
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "env | grep ^X_ | sort; echo $(X_FIRST) $0", ]
	    envFrom:
	    - {prefix: X_, configMapRef: {name: config}}
	    - {prefix: X_, secretRef: {name: secret}}
	    - {prefix: X_NO_, configMapRef: {name: missing, optional: true}}
	    env:
	    - {name: X_FIRST, value: one}
	    - {name: X_SECOND, value: "$(X_FIRST)-two"}
	    - {name: X_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
	    - {name: X_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
	    - {name: X_NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
	    - {name: X_MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
	    - {name: X_KEY, valueFrom: {configMapKeyRef: {name: config, key: SIZE}}}
	    - {name: X_SECRET, valueFrom: {secretKeyRef: {name: secret, key: PASSWORD}}}
	    resources: {limits: {memory: 64Mi}}
	`)
	n.terminated("box", "box")
	n.wantLog(`X_COLOUR=blue
X_FIRST=one
X_KEY=big
X_MEMORY=64
X_NAME=box
X_NODE=`+n.c.NodeName()+`
X_NOTE=a note
X_PASSWORD=sesame
X_SECOND=one-two
X_SECRET=sesame
X_SIZE=big
one sh
`, "box")
}

func initContainers(t *testing.T, n *namespace) {
	n.runPod("good", `
	  restartPolicy: Never
	  volumes: [{name: work, emptyDir: {}}]
	  initContainers:
	  - {name: first, image: "registry.test/toolbox:v1", command: [sh, -c, "echo first >> /job/list"], volumeMounts: [{name: work, mountPath: /job}]}
	  - {name: second, image: "registry.test/toolbox:v1", command: [sh, -c, "echo second >> /job/list"], volumeMounts: [{name: work, mountPath: /job}]}
	  containers:
	  - {name: main, image: "registry.test/toolbox:v1", command: [cat, /job/list], volumeMounts: [{name: work, mountPath: /job}]}
	`)
	n.runPod("bad", `
	  restartPolicy: Never
	  initContainers:
	  - {name: first, image: "registry.test/exit-c:v1", args: ["9"]}
	  containers:
	  - {name: main, image: "registry.test/hello-c:v1"}
	`)
	n.waitPhase("good", corev1.PodSucceeded)
	n.wantLog("first\nsecond\n", "good")
	n.waitPhase("bad", corev1.PodFailed)
	if end := n.terminated("bad", "first"); end.ExitCode != 9 {
		t.Errorf("the init container ended with %+v, want code 9", end)
	}
	if main := container(n.pod("bad"), "main"); main.State.Waiting == nil {
		t.Errorf("the container is %+v, want it waiting", main.State)
	}
}

func sidecar(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: batch/v1
	kind: Job
	metadata: {name: work}
	spec:
	  template:
	    spec:
	      restartPolicy: Never
	      initContainers:
	      - name: proxy
	        image: registry.test/toolbox:v1
	        command: [httpd, -p, "8080", -t, served by the sidecar]
	        restartPolicy: Always
	        startupProbe: {httpGet: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 300}
	      containers:
	      - {name: main, image: "registry.test/toolbox:v1", command: [wget, -q, -O, "-", "http://127.0.0.1:8080/"]}
	`)
	n.waitFor("condition=complete", "job/work")
	n.wantLog("served by the sidecar\n", "job/work", "-c", "main")
	pod := n.pods("job-name=work")[0]
	main, proxy := n.terminated(pod.Name, "main"), n.terminated(pod.Name, "proxy")
	if proxy.FinishedAt.Before(&main.FinishedAt) || proxy.ExitCode != 143 {
		t.Errorf("the sidecar ended with %+v, want it after %v and by SIGTERM", proxy, main.FinishedAt)
	}
}

func hooks(t *testing.T, n *namespace) {
	dir := t.TempDir()
	n.runPod("hooked", strings.ReplaceAll(`
	  volumes: [{name: node, hostPath: {path: DIR}}]
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    volumeMounts: [{name: node, mountPath: /node}]
	    lifecycle:
	      postStart: {exec: {command: [sh, -c, "echo started > /node/post"]}}
	      preStop: {exec: {command: [sh, -c, "echo stopping > /node/pre"]}}
	  - name: web
	    image: registry.test/httpd-go:v1
	    args: [serve, ":8080"]
	    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}
	    lifecycle: {preStop: {httpGet: {path: /exit, port: 8080}}}
	  - name: slow
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    lifecycle: {preStop: {sleep: {seconds: 2}}}
	`, "DIR", dir))
	n.ready("hooked")
	wantFile(t, dir+"/post", "started\n")
	codes := n.follow("", "get", "pod", "hooked", "--watch", "-o",
		`jsonpath={.status.containerStatuses[?(@.name=="web")].state.terminated.exitCode}{"\n"}`)
	codes.until("\n") // it has none yet
	start := time.Now()
	n.kubectl("delete", "pod", "hooked", "--timeout", patience.String())
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("the pod was gone after %v, before the sleep of its hook", took)
	}
	wantFile(t, dir+"/pre", "stopping\n")
	codes.until("\n0\n") // and not 143 of a signal: it was told by HTTP to end

	n.runPod("fails", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    lifecycle: {postStart: {exec: {command: [sh, -c, "echo no luck >&2; exit 5"]}}}
	`)
	n.event("FailedPostStartHook", "PostStartHook failed")
}

func restarts(t *testing.T, n *namespace) {
	n.runPod("crashes", `
	  containers:
	  - {name: crashes, image: "registry.test/exit-c:v1", args: ["17"]}
	`)
	n.runPod("ends", `
	  restartPolicy: OnFailure
	  containers:
	  - {name: ends, image: "registry.test/hello-c:v1"}
	`)
	n.waitPhase("ends", corev1.PodSucceeded)
	n.waitRestarts("crashes", 2)
	n.waitFor("jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff", "pod/crashes")
	if last := container(n.pod("crashes"), "crashes").LastTerminationState.Terminated; last == nil || last.ExitCode != 17 {
		t.Errorf("the last end is %+v, want code 17", last)
	}
	n.event("BackOff", "restarting failed container")
	if got := container(n.pod("ends"), "ends").RestartCount; got != 0 {
		t.Errorf("a container that succeeded was started again %d times", got)
	}
}

func runtimeClass(t *testing.T, n *namespace) {
	n.apply(strings.ReplaceAll(`
	apiVersion: node.k8s.io/v1
	kind: RuntimeClass
	metadata: {name: wasm-NS}
	handler: wasmer
	overhead: {podFixed: {memory: 8Mi, cpu: 5m}}
	---
	apiVersion: node.k8s.io/v1
	kind: RuntimeClass
	metadata: {name: other-NS}
	handler: no-such-handler
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: good}
	spec:
	  runtimeClassName: wasm-NS
	  restartPolicy: Never
	  containers: [{name: hello, image: "registry.test/hello-c:v1", resources: {limits: {memory: 32Mi, cpu: 100m}}}]
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: bad}
	spec:
	  runtimeClassName: other-NS
	  restartPolicy: Never
	  containers: [{name: hello, image: "registry.test/hello-c:v1"}]
	`, "NS", n.name))
	t.Cleanup(func() { n.cleanup("runtimeclass/wasm-"+n.name, "runtimeclass/other-"+n.name) })
	n.waitPhase("good", corev1.PodSucceeded)
	if got := n.pod("good").Spec.Overhead.Memory().String(); got != "8Mi" {
		t.Errorf("the overhead is %s, want 8Mi", got)
	}
	n.event("FailedCreatePodSandBox", "no-such-handler", "wasmer")
}

func pullSecrets(t *testing.T, n *namespace) {
	n.kubectl("create", "secret", "docker-registry", "door", "--docker-server="+privateHost,
		"--docker-username="+registryUser, "--docker-password="+registryPassword)
	n.kubectl("create", "secret", "docker-registry", "wrong", "--docker-server="+privateHost,
		"--docker-username="+registryUser, "--docker-password=guess")
	n.runPod("without", `
	  restartPolicy: Never
	  containers: [{name: hello, image: "private.test/hello-c:v1"}]
	`)
	n.runPod("wrong", `
	  restartPolicy: Never
	  imagePullSecrets: [{name: wrong}]
	  containers: [{name: hello, image: "private.test/hello-c:v1"}]
	`)
	n.event("Failed", "private.test/hello-c:v1", "authentication")
	n.waitFor("jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff", "pod/without", "pod/wrong")
	n.runPod("with", `
	  restartPolicy: Never
	  imagePullSecrets: [{name: door}]
	  containers: [{name: hello, image: "private.test/hello-c:v1"}]
	`)
	n.waitPhase("with", corev1.PodSucceeded)
}

func pullBackOff(t *testing.T, n *namespace) {
	for name, image := range map[string]string{
		"tag": publicHost + "/hello-c:nosuch", "repository": publicHost + "/nosuch:v1", "host": deadHost + "/hello:v1",
	} {
		n.kubectl("run", name, "--restart=Never", "--image="+image)
	}
	n.event("Failed", "hello-c:nosuch", "NotFound", "check repository and tag")
	n.event("Failed", "nosuch:v1", "NotFound", "check repository and tag")
	n.event("Failed", deadHost+"/hello:v1", "connection refused")
	for _, name := range []string{"tag", "repository", "host"} {
		n.waitFor("jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff", "pod/"+name)
	}
	// Once the image is there, the pod starts by itself.
	artifact, err := programImage("hello-c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.c.public.Push("hello-c", "nosuch", artifact); err != nil {
		t.Fatal(err)
	}
	n.waitPhase("tag", corev1.PodSucceeded)
}

func nativeImage(t *testing.T, n *namespace) {
	n.kubectl("run", "native", "--restart=Never", "--image="+publicHost+"/native:v1")
	n.eventually("a message that says that there is no WebAssembly in the image", func() error {
		waiting := container(n.pod("native"), "native").State.Waiting
		if waiting == nil || !strings.Contains(waiting.Message, "WebAssembly") {
			return fmt.Errorf("it waits with %+v", waiting)
		}
		return nil
	})
}

func networks(t *testing.T, n *namespace) {
	n.runPod("host", `
	  hostNetwork: true
	  terminationGracePeriodSeconds: 1
	  containers: [{name: web, image: "registry.test/toolbox:v1", command: [httpd, -p, "18080", -t, host]}]
	`)
	n.runPod("pair", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: web, image: "registry.test/toolbox:v1", command: [httpd, -p, "8080", -t, pair], ports: [{containerPort: 8080, hostPort: 18081}]}
	  - {name: box, image: "registry.test/toolbox:v1", command: [sleep, inf]}
	`)
	n.ready("host", "pair")
	host, pair := n.pod("host").Status, n.pod("pair").Status
	if host.PodIP != host.HostIP || pair.PodIP == pair.HostIP {
		t.Errorf("addresses: host network %s, own network %s, node %s", host.PodIP, pair.PodIP, host.HostIP)
	}
	n.wantPage("http://"+host.HostIP+":18080/", "host\n")
	n.wantPage("http://"+host.HostIP+":18081/", "pair\n")
	if got := n.kubectl("exec", "pair", "-c", "box", "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"); got != "pair\n" {
		t.Errorf("the other container gets %q", got)
	}
}

func sharedProcesses(t *testing.T, n *namespace) {
	n.runPod("shared", `
	  shareProcessNamespace: true
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: one, image: "registry.test/toolbox:v1", command: [sleep, "4242"]}
	  - {name: two, image: "registry.test/toolbox:v1", command: [sleep, inf]}
	`)
	n.ready("shared")
	if got := n.kubectl("exec", "shared", "-c", "two", "--", "ps"); !strings.Contains(got, "sleep 4242") {
		t.Errorf("the second container sees %q, want the process of the first", got)
	}
}

func userNamespace(t *testing.T, n *namespace) {
	n.runPod("box", `
	  hostUsers: false
	  terminationGracePeriodSeconds: 1
	  volumes: [{name: disk, emptyDir: {}}, {name: config, configMap: {name: kube-root-ca.crt}}]
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "id -u; head -c 7 /config/ca.crt; echo; echo mine > /disk/file; cat /disk/file; sleep inf"]
	    volumeMounts: [{name: disk, mountPath: /disk}, {name: config, mountPath: /config}]
	`)
	n.ready("box")
	n.wantEventualLog("0\n-----BE\nmine\n", "box")
	fields := strings.Fields(n.kubectl("exec", "box", "--", "cat", "/proc/self/uid_map"))
	if len(fields) != 3 || fields[0] != "0" || fields[1] == "0" || fields[2] != "65536" {
		t.Errorf("the user namespace maps %q, want 65536 users from 0 on to others", fields)
	}
}

func podNames(t *testing.T, n *namespace) {
	n.runPod("box", `
	  restartPolicy: Never
	  hostname: hut
	  subdomain: village
	  hostAliases: [{ip: 192.0.2.7, hostnames: [neighbour]}]
	  dnsPolicy: None
	  dnsConfig: {nameservers: [192.0.2.53], searches: [village.example], options: [{name: ndots, value: "3"}]}
	  containers:
	  - {name: box, image: "registry.test/toolbox:v1", command: [sh, -c, "hostname; grep neighbour /etc/hosts; cat /etc/resolv.conf"]}
	`)
	n.terminated("box", "box")
	n.wantLog("hut\n192.0.2.7\tneighbour\nsearch village.example\nnameserver 192.0.2.53\noptions ndots:3\n", "box")
}
