package cluster

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// top compares a container that spins with one that sleeps. What it takes
// depends on the machine; its limits hold everywhere.
func top(t *testing.T, n *namespace) {
	n.runPod("pair", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: busy, image: "registry.test/toolbox:v1", command: [sh, -c, "while :; do :; done"], resources: {limits: {cpu: 200m, memory: 64Mi}}}
	  - {name: idle, image: "registry.test/toolbox:v1", command: [sleep, inf], resources: {limits: {cpu: 200m, memory: 64Mi}}}
	`)
	n.ready("pair")
	var busy, idle usage
	n.eventually("figures of both containers", func() error {
		all, err := n.top("pod", "pair", "--containers")
		if err != nil {
			return err
		}
		busy, idle = all["busy"], all["idle"]
		const limit = 64 << 20
		if len(all) != 2 || busy.cpu < 10 || busy.memory == 0 || busy.memory > limit || idle.memory == 0 || idle.memory > limit {
			return fmt.Errorf("they are %+v", all)
		}
		return nil
	})
	if busy.cpu > 300 || idle.cpu >= busy.cpu {
		t.Errorf("the container that spins takes %d millicores, the one that sleeps %d; want at most about 200, and less", busy.cpu, idle.cpu)
	}
	pods, err := n.top("pod", "pair")
	if err != nil {
		t.Fatal(err)
	}
	if pod := pods["pair"]; pod.cpu < 10 || pod.memory < min(busy.memory, idle.memory) {
		t.Errorf("the pod takes %+v, its containers %+v and %+v", pod, busy, idle)
	}
	nodes, err := n.top("node", n.c.NodeName())
	if err != nil {
		t.Fatal(err)
	}
	if node := nodes[n.c.NodeName()]; node.cpu < 10 || node.memory < busy.memory+idle.memory {
		t.Errorf("the node takes %+v, less than its pod", node)
	}
}

// usage is in thousandths of a core, and in bytes.
type usage struct{ cpu, memory int64 }

// top is kubectl top, by the names of containers or else of pods or nodes.
func (n *namespace) top(args ...string) (map[string]usage, error) {
	out, err := n.try(slices.Concat([]string{"top"}, args, []string{"--no-headers"})...)
	if err != nil {
		return nil, err
	}
	all := map[string]usage{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch len(fields) {
		case 4: // POD NAME CPU MEMORY
			fields = fields[1:]
		case 5: // NAME CPU CPU(%) MEMORY MEMORY(%)
			fields = []string{fields[0], fields[1], fields[3]}
		case 3: // NAME CPU MEMORY
		default:
			return nil, fmt.Errorf("kubectl top prints %q", line)
		}
		cpu, err := resource.ParseQuantity(fields[1])
		if err != nil {
			return nil, fmt.Errorf("kubectl top prints %q: %w", line, err)
		}
		memory, err := resource.ParseQuantity(fields[2])
		if err != nil {
			return nil, fmt.Errorf("kubectl top prints %q: %w", line, err)
		}
		all[fields[0]] = usage{cpu.MilliValue(), memory.Value()}
	}
	return all, nil
}

func autoscaler(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: busy}
	spec:
	  replicas: 1
	  selector: {matchLabels: {app: busy}}
	  template:
	    metadata: {labels: {app: busy}}
	    spec:
	      terminationGracePeriodSeconds: 1
	      containers: [{name: busy, image: "registry.test/spin-c:v1", resources: {requests: {cpu: 20m}, limits: {cpu: 100m}}}]
	---
	apiVersion: autoscaling/v2
	kind: HorizontalPodAutoscaler
	metadata: {name: busy}
	spec:
	  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
	  minReplicas: 1
	  maxReplicas: 2
	  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
	`)
	n.waitFor("jsonpath={.status.readyReplicas}=2", "deployment/busy")
	n.event("SuccessfulRescale", "New size: 2", "cpu resource utilization")
}

func statistics(t *testing.T, n *namespace) {
	n.runPod("busy", `
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: busy, image: "registry.test/spin-c:v1", resources: {limits: {cpu: 100m, memory: 64Mi}}}
	`)
	n.ready("busy")
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
