package e2e

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

func containerIDs(t *testing.T, n *node, f *runtime.ContainerFilter) []string {
	t.Helper()
	list, err := n.Client.ListContainers(t.Context(), &runtime.ListContainersRequest{Filter: f})
	must(t, err)
	var ids []string
	for _, c := range list.Containers {
		ids = append(ids, c.Id)
	}
	slices.Sort(ids)
	return ids
}

func podIDs(t *testing.T, n *node, f *runtime.PodSandboxFilter) []string {
	t.Helper()
	list, err := n.Client.ListPodSandbox(t.Context(), &runtime.ListPodSandboxRequest{Filter: f})
	must(t, err)
	var ids []string
	for _, p := range list.Items {
		ids = append(ids, p.Id)
	}
	slices.Sort(ids)
	return ids
}

func sorted(ids ...string) []string {
	slices.Sort(ids)
	return ids
}

func TestContainerFilters(t *testing.T) {
	n := sharedNode(t)
	p, other := n.hostPod(t), n.hostPod(t)
	image := n.program(t, "top-c")
	a := p.run(criclient.ContainerSpec{Image: image, Labels: map[string]string{"tier": "front", "run": "a"}}).id
	b := p.create(criclient.ContainerSpec{Image: image, Labels: map[string]string{"tier": "front", "run": "b"}}).id
	c := other.create(criclient.ContainerSpec{Image: image, Labels: map[string]string{"tier": "back"}}).id
	state := func(s runtime.ContainerState) *runtime.ContainerStateValue {
		return &runtime.ContainerStateValue{State: s}
	}
	for name, tc := range map[string]struct {
		filter *runtime.ContainerFilter
		want   []string
	}{
		"id":                 {&runtime.ContainerFilter{Id: a}, []string{a}},
		"id prefix":          {&runtime.ContainerFilter{Id: a[:13]}, []string{a}},
		"pod":                {&runtime.ContainerFilter{PodSandboxId: p.id}, sorted(a, b)},
		"pod prefix":         {&runtime.ContainerFilter{PodSandboxId: other.id[:13]}, []string{c}},
		"state and pod":      {&runtime.ContainerFilter{PodSandboxId: p.id, State: state(running)}, []string{a}},
		"id in another pod":  {&runtime.ContainerFilter{Id: a, PodSandboxId: other.id}, nil},
		"label":              {&runtime.ContainerFilter{LabelSelector: map[string]string{"tier": "front"}}, sorted(a, b)},
		"labels are anded":   {&runtime.ContainerFilter{LabelSelector: map[string]string{"tier": "front", "run": "b"}}, []string{b}},
		"label of no one":    {&runtime.ContainerFilter{LabelSelector: map[string]string{"tier": "middle"}}, nil},
		"unknown pod":        {&runtime.ContainerFilter{PodSandboxId: "unknown"}, nil},
		"exited, of the pod": {&runtime.ContainerFilter{PodSandboxId: p.id, State: state(exited)}, nil},
	} {
		if got := containerIDs(t, n, tc.filter); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
	for _, filter := range []*runtime.ContainerFilter{nil, {}} {
		all := containerIDs(t, n, filter)
		for _, id := range []string{a, b, c} {
			if !slices.Contains(all, id) {
				t.Errorf("filter %v: %q lacks %s", filter, all, id)
			}
		}
	}
}

func TestPodFilters(t *testing.T) {
	n := sharedNode(t)
	ready := n.pod(t, criclient.PodSpec{HostNetwork: true, Labels: map[string]string{"set": "filters", "is": "ready"}})
	stopped := n.pod(t, criclient.PodSpec{HostNetwork: true, Labels: map[string]string{"set": "filters", "is": "stopped"}})
	_, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: stopped.id})
	must(t, err)
	set := map[string]string{"set": "filters"}
	state := func(s runtime.PodSandboxState) *runtime.PodSandboxStateValue {
		return &runtime.PodSandboxStateValue{State: s}
	}
	for name, tc := range map[string]struct {
		filter *runtime.PodSandboxFilter
		want   []string
	}{
		"id":              {&runtime.PodSandboxFilter{Id: ready.id}, []string{ready.id}},
		"id prefix":       {&runtime.PodSandboxFilter{Id: ready.id[:13]}, []string{ready.id}},
		"label":           {&runtime.PodSandboxFilter{LabelSelector: set}, sorted(ready.id, stopped.id)},
		"label and state": {&runtime.PodSandboxFilter{LabelSelector: set, State: state(runtime.PodSandboxState_SANDBOX_NOTREADY)}, []string{stopped.id}},
		"ready":           {&runtime.PodSandboxFilter{LabelSelector: set, State: state(runtime.PodSandboxState_SANDBOX_READY)}, []string{ready.id}},
		"unknown":         {&runtime.PodSandboxFilter{Id: "unknown"}, nil},
	} {
		if got := podIDs(t, n, tc.filter); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestUnambiguousPrefixesWork(t *testing.T) {
	n := sharedNode(t)
	ctx := t.Context()
	p := n.hostPod(t)
	c := p.create(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	short := c.id[:13]
	must(t, n.Client.Start(ctx, short))
	s, err := n.Client.Container(ctx, short)
	must(t, err)
	if s.Id != c.id {
		t.Errorf("status by prefix has id %s, want %s", s.Id, c.id)
	}
	must(t, n.Client.Stop(ctx, short, 5))
	must(t, n.Client.Remove(ctx, short))
	ps, err := n.Client.Pod(ctx, p.id[:13])
	must(t, err)
	if ps.Id != p.id {
		t.Errorf("pod by prefix has id %s, want %s", ps.Id, p.id)
	}
	must(t, n.Client.RemovePod(ctx, p.id[:13]))
	_, err = n.Client.Pod(ctx, p.id)
	wantCode(t, "pod removed by prefix", err, codes.NotFound)
}

// Of 17 pods, two have an id with the same first digit.
func TestAmbiguousPrefixIsRefused(t *testing.T) {
	n := sharedNode(t)
	first := map[byte]string{}
	for range 17 {
		p := n.hostPod(t)
		if first[p.id[0]] == "" {
			first[p.id[0]] = p.id
			continue
		}
		_, err := n.Client.Pod(t.Context(), p.id[:1])
		wantCode(t, "status by an ambiguous prefix", err, codes.InvalidArgument, "prefix")
		err = n.Client.RemovePod(t.Context(), p.id[:1])
		wantCode(t, "remove by an ambiguous prefix", err, codes.InvalidArgument)
		for _, id := range []string{p.id, first[p.id[0]]} {
			if _, err := n.Client.Pod(t.Context(), id); err != nil {
				t.Errorf("pod %s: %v", id, err)
			}
		}
		return
	}
	t.Fatal("17 ids have 17 different first digits: they are not hexadecimal")
}
