package cluster

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var probes = []scenario{
	{name: "Liveness by exec: a container that fails it is started again", core: true, run: liveness},
	{name: "Readiness by exec: a pod leaves its service and comes back", core: true, run: readiness},
}

func liveness(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: sick}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: sick
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    livenessProbe: {exec: {command: [test, "!", -e, /tmp/sick]}, periodSeconds: 1, failureThreshold: 1}
	`)
	n.waitFor("condition=ready", "pod/sick")
	n.kubectl("exec", "sick", "--", "touch", "/tmp/sick")
	n.waitFor("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/sick")
	n.event("Unhealthy", "Liveness probe failed")
	n.waitFor("condition=ready", "pod/sick") // its writable layer is a new one
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
	    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
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
