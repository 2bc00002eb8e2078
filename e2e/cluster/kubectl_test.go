package cluster

import (
	"testing"
	"time"
)

var kubectlScenarios = []scenario{
	{name: "kubectl logs: of one container, followed, since, tail, previous, all containers", core: true, run: logs},
	{name: "kubectl exec: output, exit codes, stdin", core: true, run: execs},
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
	n.wantLog("one 1\none 2\none 3\none 4\none 5\ntwo\noops\n", "talk", "--all-containers")

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
	n.waitFor("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/again")
	n.waitFor("condition=ready", "pod/again")
	n.wantLog("first\n", "again", "--previous")
	n.wantLog("second\n", "again")
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
