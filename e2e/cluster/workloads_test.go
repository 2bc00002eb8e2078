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
	{name: "Job: backoffLimit, deadline, indexed completions", run: jobPolicies},
	{name: "CronJob: by its schedule and by hand", run: cronJob},
	{name: "StatefulSet: stable names in order, each with a volume of its own", run: statefulSet},
	{name: "DaemonSet: one pod on the node, rolled", run: daemonSet},
	{name: "Service: HTTP guests are reached by the addresses of its endpoints, from pod and node", run: service},
	{name: "HorizontalPodAutoscaler: a Deployment that is busy gets another pod", run: autoscaler},
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
	        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30}
`

func deployment(t *testing.T, n *namespace) {
	rolled := func() { n.rolled("deployment/web") }
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

func jobPolicies(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: batch/v1
	kind: Job
	metadata: {name: retried}
	spec:
	  backoffLimit: 1
	  template:
	    spec:
	      restartPolicy: Never
	      containers: [{name: fails, image: "registry.test/exit-c:v1", args: ["1"]}]
	---
	apiVersion: batch/v1
	kind: Job
	metadata: {name: late}
	spec:
	  activeDeadlineSeconds: 2
	  template:
	    spec:
	      restartPolicy: Never
	      containers: [{name: spins, image: "registry.test/spin-c:v1"}]
	---
	apiVersion: batch/v1
	kind: Job
	metadata: {name: indexed}
	spec:
	  completions: 3
	  parallelism: 3
	  completionMode: Indexed
	  template:
	    spec:
	      restartPolicy: Never
	      containers: [{name: index, image: "registry.test/toolbox:v1", command: [sh, -c, "echo part $JOB_COMPLETION_INDEX"]}]
	`)
	n.waitFor("condition=complete", "job/indexed")
	for i := range 3 {
		n.wantLog(fmt.Sprintf("part %d\n", i), "-l", fmt.Sprintf("batch.kubernetes.io/job-completion-index=%d", i))
	}
	n.waitFor("condition=failed", "job/late", "job/retried")
	n.event("BackoffLimitExceeded", "backoff limit")
	n.event("DeadlineExceeded", "deadline")
	if got := len(n.pods("job-name=retried")); got != 2 {
		t.Errorf("%d pods were tried, want 2", got)
	}
}

func cronJob(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: batch/v1
	kind: CronJob
	metadata: {name: tick}
	spec:
	  schedule: "* * * * *"
	  jobTemplate:
	    spec:
	      template:
	        spec:
	          restartPolicy: OnFailure
	          containers: [{name: hello, image: "registry.test/hello-c:v1"}]
	`)
	n.kubectl("create", "job", "now", "--from=cronjob/tick")
	n.waitFor("condition=complete", "job/now")
	n.waitFor("jsonpath={.status.lastSuccessfulTime}", "cronjob/tick")
}

func statefulSet(t *testing.T, n *namespace) {
	n.apply(strings.ReplaceAll(`
	apiVersion: v1
	kind: Service
	metadata: {name: db}
	spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
	---
	apiVersion: apps/v1
	kind: StatefulSet
	metadata: {name: db}
	spec:
	  serviceName: db
	  replicas: 2
	  selector: {matchLabels: {app: db}}
	  template:
	    metadata: {labels: {app: db}}
	    spec:
	      terminationGracePeriodSeconds: 1
	      containers:
	      - name: db
	        image: registry.test/toolbox:v1
	        command: [sh, -c, "hostname >> /data/starts; sleep inf"]
	        volumeMounts: [{name: data, mountPath: /data}]
	  volumeClaimTemplates:
	  - metadata: {name: data}
	    spec: {accessModes: [ReadWriteOnce], storageClassName: CLASS, resources: {requests: {storage: 1Gi}}}
	`, "CLASS", n.localClass(t, 2)))
	n.rolled("statefulset/db")
	n.kubectl("delete", "pod", "db-1")
	n.eventually("the second pod again, on its own volume", func() error {
		got, err := n.try("exec", "db-1", "--", "cat", "/data/starts")
		if err == nil && got != "db-1\ndb-1\n" {
			err = fmt.Errorf("its volume says %q", got)
		}
		return err
	})
}

func daemonSet(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: apps/v1
	kind: DaemonSet
	metadata: {name: agent}
	spec:
	  selector: {matchLabels: {app: agent}}
	  template:
	    metadata: {labels: {app: agent}}
	    spec:
	      terminationGracePeriodSeconds: 1
	      hostNetwork: true
	      containers: [{name: agent, image: "registry.test/toolbox:v1", command: [sleep, inf]}]
	`)
	n.rolled("daemonset/agent")
	n.kubectl("set", "image", "daemonset/agent", "agent=registry.test/toolbox:v2")
	n.rolled("daemonset/agent")
	n.eventually("one pod with the new image", func() error {
		pods := n.pods("app=agent")
		if len(pods) != 1 || pods[0].Spec.Containers[0].Image != "registry.test/toolbox:v2" {
			return fmt.Errorf("there are %d pods", len(pods))
		}
		return nil
	})
}

func service(t *testing.T, n *namespace) {
	n.apply(deploymentYAML + `
	---
	apiVersion: v1
	kind: Service
	metadata: {name: web}
	spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: client}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers: [{name: box, image: "registry.test/toolbox:v1", command: [sleep, inf]}]
	`)
	n.rolled("deployment/web")
	n.ready("client")
	var addresses []string
	n.eventually("three endpoints", func() error {
		addresses = strings.Fields(n.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web",
			"-o", "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}"))
		if len(addresses) != 3 {
			return fmt.Errorf("there are %q", addresses)
		}
		return nil
	})
	for _, address := range addresses {
		url := "http://" + address + ":8080/"
		n.wantPage(url, "hello from v1\n")
		if got := n.kubectl("exec", "client", "--", "wget", "-q", "-O", "-", url); got != "hello from v1\n" {
			t.Errorf("a pod gets %q from %s", got, url)
		}
	}
}
