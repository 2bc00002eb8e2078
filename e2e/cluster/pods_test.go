package cluster

import (
	"fmt"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var podScenarios = []scenario{
	{name: "Exit codes: 0, 3, a trap, memory over the limit", core: true, run: exitCodes},
	{name: "Deletion: graceful, then nothing is left in the runtime", core: true, run: deletion},
}

func deletion(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: server}
	spec:
	  containers:
	  - {name: server, image: "registry.test/tool-go:v1", args: [top]}
	`)
	n.waitFor("condition=ready", "pod/server")
	uid := string(n.pod("server").UID)
	n.kubectl("delete", "pod", "server", "--timeout", patience.String())
	list, err := n.c.Server.Client.ListContainers(t.Context(), &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		State:         &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{"io.kubernetes.pod.uid": uid},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Containers) > 0 {
		t.Errorf("a container still runs: %v", list.Containers[0])
	}
}

func exitCodes(t *testing.T, n *namespace) {
	n.apply(`
	apiVersion: v1
	kind: Pod
	metadata: {name: ends}
	spec:
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
