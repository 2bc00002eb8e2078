package cluster

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var workloads = []scenario{
	{name: "Deployment: three replicas, scaled, rolled to a new image and back", core: true, run: deployment},
	{name: "Job: completions side by side, exit codes", core: true, run: job},
}

const deploymentYAML = `
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: web}
	spec:
	  replicas: 3
	  selector: {matchLabels: {app: web}}
	  template:
	    metadata: {labels: {app: web}}
	    spec:
	      terminationGracePeriodSeconds: 5
	      containers:
	      - name: web
	        image: registry.test/toolbox:v1
	        command: [httpd, -p, "8080", -t, hello from v1]
	        ports: [{containerPort: 8080}]
	        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
`

func deployment(t *testing.T, n *namespace) {
	rolled := func() { n.kubectl("rollout", "status", "deployment/web", "--timeout", patience.String()) }
	image := func(want string) {
		t.Helper()
		n.eventually("pods of the new image alone", func() error {
			for _, pod := range n.pods("app=web") {
				if got := pod.Spec.Containers[0].Image; got != want {
					return fmt.Errorf("pod %s has image %s", pod.Name, got)
				}
			}
			return nil
		})
	}
	n.apply(deploymentYAML)
	rolled()
	n.kubectl("scale", "deployment/web", "--replicas=4")
	rolled()
	if got := len(n.pods("app=web")); got != 4 {
		t.Errorf("got %d pods, want 4", got)
	}
	n.kubectl("set", "image", "deployment/web", "web=registry.test/toolbox:v2")
	rolled()
	image("registry.test/toolbox:v2")
	n.kubectl("rollout", "undo", "deployment/web")
	rolled()
	image("registry.test/toolbox:v1")
}

func job(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: batch/v1
	kind: Job
	metadata: {name: hello}
	spec:
	  completions: 3
	  parallelism: 2
	  template:
	    spec:
	      restartPolicy: Never
	      containers:
	      - {name: hello, image: "registry.test/hello-rust:v1", args: [from, a, job]}
	---
	apiVersion: batch/v1
	kind: Job
	metadata: {name: failing}
	spec:
	  backoffLimit: 0
	  template:
	    spec:
	      restartPolicy: Never
	      containers:
	      - {name: failing, image: "registry.test/exit-c:v1", args: ["42"]}
	`)
	n.waitFor("condition=complete", "job/hello")
	for _, pod := range n.pods("job-name=hello") {
		end := container(&pod, "hello").State.Terminated
		if pod.Status.Phase != corev1.PodSucceeded || end == nil || end.ExitCode != 0 || end.Reason != "Completed" {
			t.Errorf("pod %s is %s, its container %+v", pod.Name, pod.Status.Phase, end)
		}
	}
	if log := n.kubectl("logs", "job/hello"); !strings.Contains(log, "hello from rust\n") || !strings.Contains(log, "arg 3 job\n") {
		t.Errorf("the log is %q", log)
	}
	n.waitFor("condition=failed", "job/failing")
	pods := n.pods("job-name=failing")
	if len(pods) != 1 {
		t.Fatalf("got %d pods, want 1", len(pods))
	}
	if end := container(&pods[0], "failing").State.Terminated; end == nil || end.ExitCode != 42 || end.Reason != "Error" {
		t.Errorf("the container ended with %+v, want code 42", end)
	}
}
