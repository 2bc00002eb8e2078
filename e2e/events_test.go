package e2e

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// events follows what happens to one pod.
type events struct {
	t      *testing.T
	pod    func() string // its uid
	stream runtime.RuntimeService_GetContainerEventsClient
}

// follow begins to listen to what happens to the pod of that uid. The server
// listens once it has answered something else on the same connection.
func (n *node) follow(t *testing.T, uid string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := n.Client.GetContainerEvents(ctx, &runtime.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return &events{t: t, pod: func() string { return uid }, stream: stream}
}

// next waits for the next event of the pod.
func (e *events) next() *runtime.ContainerEventResponse {
	e.t.Helper()
	for {
		r, err := e.stream.Recv()
		if err != nil {
			e.t.Fatal(err)
		}
		if r.PodSandboxStatus.GetMetadata().GetUid() == e.pod() {
			return r
		}
	}
}

func (e *events) want(kind runtime.ContainerEventType, id string) *runtime.ContainerEventResponse {
	e.t.Helper()
	r := e.next()
	if r.ContainerEventType != kind || r.ContainerId != id {
		e.t.Fatalf("got %s of %s, want %s of %s", r.ContainerEventType, r.ContainerId, kind, id)
	}
	if r.CreatedAt == 0 || time.Since(time.Unix(0, r.CreatedAt)) > patience {
		e.t.Errorf("event is of %d", r.CreatedAt)
	}
	return r
}

const (
	createdEvent = runtime.ContainerEventType_CONTAINER_CREATED_EVENT
	startedEvent = runtime.ContainerEventType_CONTAINER_STARTED_EVENT
	stoppedEvent = runtime.ContainerEventType_CONTAINER_STOPPED_EVENT
	deletedEvent = runtime.ContainerEventType_CONTAINER_DELETED_EVENT
)

func TestEventsTellAWholeLife(t *testing.T) {
	n := sharedNode(t)
	uid := n.unique("uid")
	e := n.follow(t, uid)
	n.listening(t, e)
	p := n.pod(t, criclient.PodSpec{HostNetwork: true, UID: uid})
	e.want(createdEvent, p.id)
	if r := e.want(startedEvent, p.id); r.PodSandboxStatus.State != runtime.PodSandboxState_SANDBOX_READY || len(r.ContainersStatuses) != 0 {
		t.Errorf("started with %v", r)
	}
	c := p.create(criclient.ContainerSpec{Image: n.program(t, "exit-c"), Args: []string{"7"}})
	if r := e.want(createdEvent, c.id); len(r.ContainersStatuses) != 1 || r.ContainersStatuses[0].State != created {
		t.Errorf("created with %v", r)
	}
	c.start()
	if r := e.want(startedEvent, c.id); len(r.ContainersStatuses) != 1 || r.ContainersStatuses[0].State != running {
		t.Errorf("started with %v", r)
	}
	r := e.want(stoppedEvent, c.id) // by itself
	if s := r.ContainersStatuses; len(s) != 1 || s[0].State != exited || s[0].ExitCode != 7 || r.PodSandboxStatus.State != runtime.PodSandboxState_SANDBOX_READY {
		t.Errorf("stopped with %v", r)
	}
	if err := n.Client.Remove(t.Context(), c.id); err != nil {
		t.Fatal(err)
	}
	if r := e.want(deletedEvent, c.id); len(r.ContainersStatuses) != 0 {
		t.Errorf("deleted with %v", r)
	}
	for range 2 { // the second stop is no event
		if _, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Fatal(err)
		}
	}
	if r := e.want(stoppedEvent, p.id); r.PodSandboxStatus.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("stopped with %v", r)
	}
	p.remove()
	e.want(deletedEvent, p.id)
}

// listening waits until the server counts the subscriber: events before that are
// not its.
func (n *node) listening(t *testing.T, e *events) {
	t.Helper()
	uid, own := n.unique("uid"), e.pod
	defer func() { e.pod = own }()
	e.pod = func() string { return uid }
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		e.next()
	}()
	for {
		p := n.pod(t, criclient.PodSpec{HostNetwork: true, UID: uid})
		p.remove()
		select {
		case <-heard:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A server that stops ends its streams in order, and at once.
func TestEventsEndWithTheServer(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	e := n.follow(t, "nobody")
	n.listening(t, e)
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop() }()
	for {
		_, err := e.stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("stream ends with %v, want its end", err)
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// A subscriber that takes nothing makes nobody wait, and is told.
func TestSlowSubscriberIsDisconnected(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	e := n.follow(t, "nobody")
	n.listening(t, e)
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	config.Annotations = map[string]string{"long": strings.Repeat("x", 1<<20)} // more than the connection holds
	n.podFrom(t, config, "")
	for range 300 { // with four events each
		n.hostPod(t).remove()
	}
	for {
		_, err := e.stream.Recv()
		if err == nil {
			continue
		}
		if want := "did not take its events"; errors.Is(err, io.EOF) || !strings.Contains(status.Convert(err).Message(), want) {
			t.Errorf("stream ends with %v, want %q", err, want)
		}
		return
	}
}
