package kubelet

import (
	"encoding/json"
	"regexp"
	"testing"
	"time"
)

// summary is what the test wants of the kubelet's /stats/summary.
type summary struct {
	Pods []struct {
		PodRef     struct{ Name string }
		CPU        struct{ UsageCoreNanoSeconds uint64 }
		Memory     struct{ WorkingSetBytes uint64 }
		Network    struct{ RxBytes uint64 }
		Containers []struct {
			Name   string
			CPU    struct{ UsageNanoCores *uint64 }
			Memory struct{ WorkingSetBytes uint64 }
			Rootfs struct{ UsedBytes, CapacityBytes uint64 }
		}
		ProcessStats struct {
			ProcessCount uint64 `json:"process_count"`
		} `json:"process_stats"`
	}
}

// The kubelet measures pods by the runtime alone, serves the runtime's metrics
// as cAdvisor's, and hears of the end of containers from it.
func TestKubeletMeasuresAndListensByTheRuntime(t *testing.T) {
	server, registry := startServer(t)
	image := push(t, registry, "tools", tools(t))
	warmUp(t, server, image)
	k := startKubelet(t, server.Socket(), "PodAndContainerStatsFromCRI", "EventedPLEG")
	pod := map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "measured"},
		"spec": map[string]any{"containers": []any{
			map[string]any{"name": "top", "image": image, "resources": map[string]any{"limits": map[string]any{"memory": "64Mi", "cpu": "500m"}}},
			map[string]any{"name": "brief", "image": image, "command": []string{"/bin/exit", "0"}},
		}},
	}
	data, err := json.Marshal(pod)
	must(t, err)
	k.writeManifest(t, data)
	k.waitRunning(t, "measured")
	eventually(t, "statistics of the pod", func() bool { return k.measured(t) })
	for _, series := range []string{
		`container_memory_working_set_bytes\{container="top",id="/[^"]+",image="[^"]+",name="[0-9a-f]{64}",namespace="default",pod="measured-wasm-node"\} [1-9]`,
		`container_cpu_usage_seconds_total\{container="top",cpu="total",`,
		`container_spec_memory_limit_bytes\{container="top",[^}]*\} 6.7108864e\+07`,
		`container_network_receive_bytes_total\{container="",[^}]*interface="eth0",[^}]*pod="measured-wasm-node"\} [1-9]`,
	} {
		eventually(t, "the series "+series+" among the kubelet's metrics", func() bool {
			return regexp.MustCompile("(?m)^" + series).MatchString(k.get(t, "/metrics/cadvisor"))
		})
	}
	// Each end of the brief container is an event, by which the kubelet looks.
	eventually(t, "events that the kubelet has counted", func() bool {
		own := k.get(t, "/metrics")
		return regexp.MustCompile(`(?m)^kubelet_evented_pleg_connection_success_count [1-9]`).MatchString(own) &&
			regexp.MustCompile(`(?m)^kubelet_evented_pleg_connection_latency_seconds_count [1-9]`).MatchString(own)
	})
	k.removeManifest(t)
	eventually(t, "the end of the pod", func() bool { return len(k.podList(t)) == 0 })
}

// measured says whether the kubelet shows the pod with all that it uses.
func (k *kubelet) measured(t *testing.T) bool {
	t.Helper()
	var s summary
	must(t, json.Unmarshal([]byte(k.get(t, "/stats/summary")), &s))
	for _, p := range s.Pods {
		if p.PodRef.Name != "measured-wasm-node" || p.CPU.UsageCoreNanoSeconds == 0 || p.Memory.WorkingSetBytes == 0 ||
			p.Network.RxBytes == 0 || p.ProcessStats.ProcessCount == 0 {
			continue
		}
		for _, c := range p.Containers {
			if c.Name == "top" && c.CPU.UsageNanoCores != nil && c.Memory.WorkingSetBytes > 0 && c.Rootfs.UsedBytes > 0 && c.Rootfs.CapacityBytes > 0 {
				return true
			}
		}
	}
	time.Sleep(500 * time.Millisecond)
	return false
}
