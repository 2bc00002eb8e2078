package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience is how long anything may take. The machine is busy, and back-offs
// are long.
const patience = 5 * time.Minute

// namespace is where one scenario lives. Its methods fail the test.
type namespace struct {
	t    testing.TB
	c    *cloud
	name string
}

var namespaces atomic.Int64

// newNamespace makes a namespace that is deleted at the end; of a scenario that
// failed, what is in it is shown before.
func newNamespace(t testing.TB, c *cloud) *namespace {
	t.Helper()
	n := &namespace{t: t, c: c, name: fmt.Sprintf("s%d", namespaces.Add(1))}
	if _, err := c.Kubectl(t.Context(), "", "create", "namespace", n.name); err != nil {
		t.Fatal(err)
	}
	n.eventually("the service account default", func() error {
		_, err := n.try("get", "serviceaccount", "default")
		return err
	})
	t.Cleanup(n.end)
	return n
}

func (n *namespace) end() {
	ctx := context.Background() // that of the test has ended
	if n.t.Failed() {
		for _, args := range [][]string{{"get", "all", "-o", "wide"}, {"get", "events"}, {"describe", "pods"}} {
			out, err := n.c.Kubectl(ctx, "", append(args, "-n", n.name)...)
			n.t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if _, err := n.c.Kubectl(ctx, "", "delete", "namespace", n.name, "--wait=false"); err != nil {
		n.t.Error(err)
	}
}

// try runs kubectl in the namespace.
func (n *namespace) try(args ...string) (string, error) {
	return n.tryWith("", args...)
}

func (n *namespace) tryWith(stdin string, args ...string) (string, error) {
	// Longer than what kubectl waits for, so that it says itself what did not come.
	ctx, cancel := context.WithTimeout(n.t.Context(), patience+time.Minute)
	defer cancel()
	return n.c.Kubectl(ctx, stdin, append([]string{"-n", n.name}, args...)...)
}

// kubectl runs kubectl in the namespace, which must succeed.
func (n *namespace) kubectl(args ...string) string {
	n.t.Helper()
	out, err := n.try(args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// execAndEnd runs a command that brings about the end of its container, which may
// come before its own: how it ends says nothing.
func (n *namespace) execAndEnd(args ...string) {
	if _, err := n.try(append([]string{"exec"}, args...)...); err != nil {
		n.t.Log(err)
	}
}

// fails runs kubectl, which must end with code and say all of words.
func (n *namespace) fails(code int, words []string, args ...string) {
	n.t.Helper()
	_, err := n.try(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		n.t.Fatalf("kubectl %s: got %v, want code %d", strings.Join(args, " "), err, code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			n.t.Errorf("kubectl %s: %q lacks %q", strings.Join(args, " "), err, word)
		}
	}
}

// apply applies manifests, which may be indented by tabs.
func (n *namespace) apply(yaml string) {
	n.t.Helper()
	if _, err := n.tryWith(dedent(yaml), "apply", "-f", "-"); err != nil {
		n.t.Fatal(err)
	}
}

// runPod applies a pod of a specification, which is indented as it is in a pod.
func (n *namespace) runPod(name, spec string) {
	n.t.Helper()
	n.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n" + dedent(spec))
}

// dedent takes the tabs away that a manifest has in Go's source.
func dedent(yaml string) string {
	yaml = strings.Trim(yaml, "\n\t")
	lines := strings.Split(yaml, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimLeft(line, "\t")
	}
	return strings.Join(lines, "\n") + "\n"
}

// waitFor is kubectl wait --for.
func (n *namespace) waitFor(condition string, what ...string) {
	n.t.Helper()
	n.kubectl(append([]string{"wait", "--for", condition, "--timeout", patience.String()}, what...)...)
}

// ready waits until pods are ready.
func (n *namespace) ready(pods ...string) {
	n.t.Helper()
	var what []string
	for _, pod := range pods {
		what = append(what, "pod/"+pod)
	}
	n.waitFor("condition=ready", what...)
}

// rolled waits until all pods of a workload, such as deployment/web, are those
// that it wants.
func (n *namespace) rolled(workload string) {
	n.t.Helper()
	n.kubectl("rollout", "status", workload, "--timeout", patience.String())
}

// afterwards runs kubectl when the test has ended, and its context with it.
func (n *namespace) afterwards(args ...string) {
	if _, err := n.c.Kubectl(context.Background(), "", args...); err != nil {
		n.t.Error(err)
	}
}

// cleanup deletes what is not in the namespace.
func (n *namespace) cleanup(objects ...string) {
	n.afterwards(append([]string{"delete", "--wait=false"}, objects...)...)
}

// wantPage gets a page from the node.
func (n *namespace) wantPage(url, want string) {
	n.t.Helper()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	n.eventually("the page "+url, func() error {
		r, err := client.Get(url)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		got, err := io.ReadAll(r.Body)
		if err == nil && string(got) != want {
			err = fmt.Errorf("it is %q, want %q", got, want)
		}
		return err
	})
}

// eventually waits until check gives no error.
func (n *namespace) eventually(what string, check func() error) {
	n.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("waited %v for %s: %v", patience, what, err)
		}
	}
}

// pod gets a pod.
func (n *namespace) pod(name string) *corev1.Pod {
	n.t.Helper()
	pod, err := n.c.Pod(n.t.Context(), n.name, name)
	if err != nil {
		n.t.Fatal(err)
	}
	return pod
}

// pods lists pods by label.
func (n *namespace) pods(selector string) []corev1.Pod {
	n.t.Helper()
	pods, err := n.c.Pods(n.t.Context(), n.name, selector)
	if err != nil {
		n.t.Fatal(err)
	}
	return pods
}

// container is the status of a container, of any kind.
func container(pod *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, status := range list {
			if status.Name == name {
				return status
			}
		}
	}
	return corev1.ContainerStatus{}
}

// waitPhase waits until a pod has a phase.
func (n *namespace) waitPhase(name string, phase corev1.PodPhase) {
	n.t.Helper()
	n.waitFor("jsonpath={.status.phase}="+string(phase), "pod/"+name)
}

// waitRestarts waits until the first container of a pod has been started again
// so many times, or more often.
func (n *namespace) waitRestarts(pod string, atLeast int32) {
	n.t.Helper()
	n.eventually("restarts of pod "+pod, func() error {
		list := n.pod(pod).Status.ContainerStatuses
		if len(list) == 0 || list[0].RestartCount < atLeast {
			return fmt.Errorf("its containers are %+v", list)
		}
		return nil
	})
}

// terminated waits until a container has ended, and says how.
func (n *namespace) terminated(pod, name string) *corev1.ContainerStateTerminated {
	n.t.Helper()
	var state *corev1.ContainerStateTerminated
	n.eventually("the end of container "+name+" of pod "+pod, func() error {
		status := container(n.pod(pod), name)
		if state = status.State.Terminated; state == nil {
			return fmt.Errorf("its state is %+v", status.State)
		}
		return nil
	})
	return state
}

// wantLog compares the log of a container, given as arguments of kubectl logs.
func (n *namespace) wantLog(want string, args ...string) {
	n.t.Helper()
	if got := n.kubectl(append([]string{"logs"}, args...)...); got != want {
		n.t.Errorf("kubectl logs %s: got %q, want %q", strings.Join(args, " "), got, want)
	}
}

// wantEventualLog is wantLog of a container that may not have written all.
func (n *namespace) wantEventualLog(want string, args ...string) {
	n.t.Helper()
	n.eventually("the log of "+strings.Join(args, " "), func() error {
		got, err := n.try(append([]string{"logs"}, args...)...)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}

// event waits for an event of the namespace with a reason, whose message has
// all of words.
func (n *namespace) event(reason string, words ...string) {
	n.t.Helper()
	n.eventually("an event "+reason, func() error {
		events, err := n.c.Events(n.t.Context(), n.name)
		if err != nil {
			return err
		}
		var messages []string
		for _, e := range events {
			if e.Reason != reason {
				continue
			}
			if containsAll(e.Message, words) {
				return nil
			}
			messages = append(messages, e.Message)
		}
		return fmt.Errorf("of %d events, those messages: %q; want words %q", len(events), messages, words)
	})
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}
