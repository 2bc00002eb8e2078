package cluster

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var probes = []scenario{
	{name: "Liveness by exec: a container that fails it is started again", core: true, run: liveness},
	{name: "Readiness by exec: a pod leaves its service and comes back", core: true, run: readiness},
	{name: "Startup, readiness and liveness by HTTP", run: httpProbes},
	{name: "Liveness by TCP", run: tcpProbe},
	{name: "Readiness by gRPC, of a guest that serves it", run: grpcProbe},
	{name: "An exec probe that takes too long counts as failed", run: slowProbe},
}

func liveness(t *testing.T, n *namespace) {
	n.runPod("sick", `
	  containers:
	  - name: sick
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    livenessProbe: {exec: {command: [test, "!", -e, /tmp/sick]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}
	`)
	n.ready("sick")
	n.execAndEnd("sick", "--", "touch", "/tmp/sick")
	n.waitRestarts("sick", 1)
	n.event("Unhealthy", "Liveness probe failed")
	n.ready("sick") // its writable layer is a new one
	last := container(n.pod("sick"), "sick").LastTerminationState.Terminated
	if last == nil || last.ExitCode != 143 {
		t.Errorf("its last end was %+v, want code 143 for SIGTERM", last)
	}
}

func readiness(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Service
	metadata: {name: web}
	spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: web, labels: {app: web}}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: web
	    image: registry.test/toolbox:v1
	    command: [httpd, -p, "8080"]
	    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}
	`)
	endpoint := func(want string) {
		t.Helper()
		n.eventually("endpoint "+want, func() error {
			got := n.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web",
				"-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
			if got != want {
				return fmt.Errorf("ready is %q", got)
			}
			return nil
		})
	}
	n.waitPhase("web", corev1.PodRunning)
	endpoint("false")
	n.kubectl("exec", "web", "--", "touch", "/tmp/ready")
	endpoint("true")
	n.kubectl("exec", "web", "--", "rm", "/tmp/ready")
	endpoint("false")
}

func httpProbes(t *testing.T, n *namespace) {
	n.runPod("web", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: web
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "mkdir -p /www; echo ok > /www/live; sleep 2; httpd -f -p 8080 -h /www"]
	    startupProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 300}
	    livenessProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}
	    readinessProbe: {httpGet: {path: /ready, port: 8080, httpHeaders: [{name: X-Probe, value: "1"}]}, periodSeconds: 1, timeoutSeconds: 30}
	`)
	n.event("Unhealthy", "Readiness probe failed", "404")
	n.eventually("a container that is started, but not ready", func() error {
		if c := container(n.pod("web"), "web"); c.Started == nil || !*c.Started || c.Ready || c.RestartCount != 0 {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})
	n.kubectl("exec", "web", "--", "touch", "/www/ready")
	n.ready("web")
	n.execAndEnd("web", "--", "rm", "/www/live")
	n.waitRestarts("web", 1)
}

func tcpProbe(t *testing.T, n *namespace) {
	n.runPod("web", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: open
	    image: registry.test/toolbox:v1
	    command: [httpd, -p, "8080"]
	    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 300}
	    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}
	  - name: closed
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    livenessProbe: {tcpSocket: {port: 9090}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}
	`)
	n.event("Unhealthy", "Liveness probe failed", "connection refused")
	n.eventually("a restart of the one without a port", func() error {
		if c := container(n.pod("web"), "closed"); c.RestartCount == 0 {
			return fmt.Errorf("it is %+v", c.State)
		}
		return nil
	})
	if c := container(n.pod("web"), "open"); c.RestartCount != 0 {
		t.Errorf("the one with a port was started again %d times", c.RestartCount)
	}
}

func grpcProbe(t *testing.T, n *namespace) {
	n.runPod("health", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: good
	    image: registry.test/httpd-go:v1
	    args: [serve, ":8080"]
	    readinessProbe: {grpc: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}
	  - name: other
	    image: registry.test/httpd-go:v1
	    args: [serve, ":8081"]
	    readinessProbe: {grpc: {port: 8081, service: not-served}, periodSeconds: 1, timeoutSeconds: 30}
	`)
	n.eventually("the readiness of one container", func() error {
		if c := container(n.pod("health"), "good"); !c.Ready {
			return fmt.Errorf("it is not ready: %+v", c.State)
		}
		return nil
	})
	n.event("Unhealthy", "Readiness probe failed", "NOT_SERVING")
	if c := container(n.pod("health"), "other"); c.Ready {
		t.Error("a service that is not served is ready")
	}
}

func slowProbe(t *testing.T, n *namespace) {
	n.runPod("slow", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    readinessProbe: {exec: {command: [sleep, "3600"]}, timeoutSeconds: 1, periodSeconds: 1}
	`)
	n.event("Unhealthy", "Readiness probe", "timed out")
	n.eventually("the end of the commands that took too long", func() error {
		got, err := n.try("exec", "slow", "--", "ps")
		if err == nil && strings.Count(got, "3600") > 2 {
			err = fmt.Errorf("they go on: %s", got)
		}
		return err
	})
}
