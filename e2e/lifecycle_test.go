package e2e

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

func TestVersionNamesTheRuntime(t *testing.T) {
	n := sharedNode(t)
	v, err := n.Client.Version(t.Context(), &runtime.VersionRequest{})
	must(t, err)
	if v.RuntimeName != "cri-wasmer" || v.RuntimeApiVersion != "v1" || v.Version == "" || v.RuntimeVersion == "" {
		t.Errorf("version is %v", v)
	}
}

func TestStatusIsReadyAndListsTheHandlers(t *testing.T) {
	n := sharedNode(t)
	s, err := n.Client.Status(t.Context(), &runtime.StatusRequest{Verbose: true})
	must(t, err)
	for _, want := range []string{"RuntimeReady", "NetworkReady"} {
		i := slices.IndexFunc(s.Status.Conditions, func(c *runtime.RuntimeCondition) bool { return c.Type == want })
		if i < 0 || !s.Status.Conditions[i].Status {
			t.Errorf("%s is not true in %v", want, s.Status.Conditions)
		}
	}
	var handlers []string
	for _, h := range s.RuntimeHandlers {
		handlers = append(handlers, h.Name)
	}
	slices.Sort(handlers)
	if want := []string{"", "wasmer"}; !slices.Equal(handlers, want) {
		t.Errorf("handlers are %q, want %q", handlers, want)
	}
	if len(s.Info) == 0 {
		t.Error("a verbose status has no info")
	}
}

func TestRuntimeConfigNamesTheCgroupDriver(t *testing.T) {
	n := sharedNode(t)
	c, err := n.Client.RuntimeConfig(t.Context(), &runtime.RuntimeConfigRequest{})
	must(t, err)
	if c.Linux == nil {
		t.Fatalf("runtime config is %v, without linux", c)
	}
	_, err = n.Client.UpdateRuntimeConfig(t.Context(), &runtime.UpdateRuntimeConfigRequest{
		RuntimeConfig: &runtime.RuntimeConfig{NetworkConfig: &runtime.NetworkConfig{PodCidr: "10.200.0.0/24"}},
	})
	must(t, err)
}

func TestPodGoesFromReadyToRemoved(t *testing.T) {
	n := sharedNode(t)
	for _, handler := range []string{"", "wasmer"} {
		t.Run("handler "+handler, func(t *testing.T) {
			config := n.podConfig(criclient.PodSpec{Labels: map[string]string{"app": "hello", "io.kubernetes.pod.name": "x"}})
			config.Annotations = map[string]string{"note": "kept verbatim"}
			config.Metadata.Attempt = 3
			p := n.podFrom(t, config, handler)
			s, err := n.Client.Pod(t.Context(), p.id)
			must(t, err)
			if s.State != runtime.PodSandboxState_SANDBOX_READY || s.RuntimeHandler != handler || s.CreatedAt == 0 {
				t.Errorf("status is %v", s)
			}
			if m := s.Metadata; m.Name != config.Metadata.Name || m.Namespace != "default" || m.Uid != config.Metadata.Uid || m.Attempt != 3 {
				t.Errorf("metadata is %v, want %v", m, config.Metadata)
			}
			if s.Labels["app"] != "hello" || len(s.Labels) != 2 || s.Annotations["note"] != "kept verbatim" || len(s.Annotations) != 1 {
				t.Errorf("labels %v, annotations %v", s.Labels, s.Annotations)
			}
			if ip, err := netip.ParseAddr(s.GetNetwork().GetIp()); err != nil || !ip.IsValid() {
				t.Errorf("pod ip %q: %v", s.GetNetwork().GetIp(), err)
			}
			stopAndRemovePod(t, n, p)
		})
	}
}

func stopAndRemovePod(t *testing.T, n *node, p *pod) {
	t.Helper()
	ctx := t.Context()
	for range 2 { // the second time must do no harm
		_, err := n.Client.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.id})
		must(t, err)
	}
	s, err := n.Client.Pod(ctx, p.id)
	must(t, err)
	if s.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("a stopped pod is %v", s.State)
	}
	for range 2 {
		_, err := n.Client.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: p.id})
		must(t, err)
	}
	_, err = n.Client.Pod(ctx, p.id)
	wantCode(t, "status of a removed pod", err, codes.NotFound)
	if ids := podIDs(t, n, &runtime.PodSandboxFilter{Id: p.id}); len(ids) != 0 {
		t.Errorf("a removed pod is listed: %q", ids)
	}
}

func TestContainerGoesFromCreatedToRemoved(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	image := n.program(t, "top-c")
	spec := criclient.ContainerSpec{Name: "main", Image: image, Labels: map[string]string{"tier": "front"}}
	config := spec.Config()
	config.Annotations = map[string]string{"note": "kept"}
	config.Metadata.Attempt = 2
	c := p.createFrom(config)
	s := c.status()
	if s.State != created || s.CreatedAt == 0 || s.StartedAt != 0 || s.FinishedAt != 0 {
		t.Errorf("after create: %v", s)
	}
	if s.Metadata.Name != "main" || s.Metadata.Attempt != 2 || s.Labels["tier"] != "front" || s.Annotations["note"] != "kept" {
		t.Errorf("metadata %v, labels %v, annotations %v", s.Metadata, s.Labels, s.Annotations)
	}
	if s.Image.GetImage() != image || s.ImageRef == "" || s.ImageId == "" {
		t.Errorf("image %v, ref %q, id %q", s.Image, s.ImageRef, s.ImageId)
	}
	if want := filepath.Join(p.config.LogDirectory, "main", "0.log"); s.LogPath != want {
		t.Errorf("log path %q, want %q", s.LogPath, want)
	}
	c.start()
	if s := c.status(); s.State != running || s.StartedAt == 0 || s.FinishedAt != 0 {
		t.Errorf("after start: %v", s)
	}
	c.waitLine("up")
	wantCode(t, "start of a running container", n.Client.Start(t.Context(), c.id), codes.FailedPrecondition)
	if s, _ := c.stop(10); s.FinishedAt < s.StartedAt || s.FinishedAt == 0 {
		t.Errorf("after stop: %v", s)
	}
	wantCode(t, "start of an exited container", n.Client.Start(t.Context(), c.id), codes.FailedPrecondition)
	for range 2 {
		must(t, n.Client.Stop(t.Context(), c.id, 0))
	}
	for range 2 {
		must(t, n.Client.Remove(t.Context(), c.id))
	}
	_, err := n.Client.Container(t.Context(), c.id)
	wantCode(t, "status of a removed container", err, codes.NotFound)
}

func TestRemoveContainerInAnyState(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	image := n.program(t, "top-c")
	for name, prepare := range map[string]func(c *container){
		"created": func(*container) {},
		"running": func(c *container) { c.start() },
		"exited":  func(c *container) { c.start(); c.stop(10) },
	} {
		t.Run(name, func(t *testing.T) {
			c := p.create(criclient.ContainerSpec{Image: image})
			prepare(c)
			must(t, n.Client.Remove(t.Context(), c.id))
			_, err := n.Client.Container(t.Context(), c.id)
			wantCode(t, "status", err, codes.NotFound)
		})
	}
}

func TestStopPodKillsItsContainers(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	ran := p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	made := p.create(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	_, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: p.id})
	must(t, err)
	if s := ran.status(); s.State != exited || s.ExitCode < 128 {
		t.Errorf("the running container is %v with exit code %d", s.State, s.ExitCode)
	}
	_, err = n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: n.program(t, "top-c")}.Config())
	wantCode(t, "create in a stopped pod", err, codes.FailedPrecondition)
	err = n.Client.Start(t.Context(), made.id)
	wantError(t, "start in a stopped pod", err)
	_, err = n.Client.RemovePodSandbox(t.Context(), &runtime.RemovePodSandboxRequest{PodSandboxId: p.id})
	must(t, err)
	for _, c := range []*container{ran, made} {
		_, err := n.Client.Container(t.Context(), c.id)
		wantCode(t, "status of a container whose pod is removed", err, codes.NotFound)
	}
}

func TestUnknownIDs(t *testing.T) {
	n := sharedNode(t)
	ctx := t.Context()
	c := n.Client
	for _, id := range []string{"nothing", strings.Repeat("0", 64)} {
		for what, call := range map[string]func() error{
			"stop container":   func() error { return c.Stop(ctx, id, 1) },
			"remove container": func() error { return c.Remove(ctx, id) },
			"remove pod":       func() error { return c.RemovePod(ctx, id) },
			"remove image": func() error {
				_, err := c.Images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: id}})
				return err
			},
		} {
			if err := call(); err != nil {
				t.Errorf("%s %s: got %v, want nil: it is gone already", what, id, err)
			}
		}
		for what, call := range map[string]func() error{
			"status of container": func() error { _, err := c.Container(ctx, id); return err },
			"status of pod":       func() error { _, err := c.Pod(ctx, id); return err },
			"start container":     func() error { return c.Start(ctx, id) },
			"exec":                func() error { _, err := c.Exec(ctx, id, 1, "true"); return err },
			"reopen log": func() error {
				_, err := c.ReopenContainerLog(ctx, &runtime.ReopenContainerLogRequest{ContainerId: id})
				return err
			},
			"create container": func() error {
				_, err := c.Create(ctx, id, n.podConfig(criclient.PodSpec{}), criclient.ContainerSpec{Image: "x"}.Config())
				return err
			},
		} {
			wantCode(t, what+" "+id, call(), codes.NotFound)
		}
		list, err := c.ListContainers(ctx, &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{Id: id}})
		if err != nil || len(list.Containers) != 0 {
			t.Errorf("list of container %s: %v, %v", id, list, err)
		}
	}
}

func TestRequestsThatCannotMeanAnything(t *testing.T) {
	n := sharedNode(t)
	ctx := t.Context()
	_, err := n.Client.RunPod(ctx, n.podConfig(criclient.PodSpec{}), "no-such-handler")
	wantError(t, "unknown runtime handler", err, "no-such-handler")
	_, err = n.Client.RunPod(ctx, nil, "")
	wantCode(t, "pod without config", err, codes.InvalidArgument)
	p := n.hostPod(t)
	_, err = n.Client.Create(ctx, p.id, p.config, criclient.ContainerSpec{Image: n.ref("never-pulled:v1")}.Config())
	wantCode(t, "image that is not there", err, codes.NotFound, "never-pulled")
	_, err = n.Client.Create(ctx, p.id, p.config, nil)
	wantCode(t, "container without config", err, codes.InvalidArgument)
}

func TestNamesAreTakenWhileTheirObjectLives(t *testing.T) {
	n := sharedNode(t)
	ctx := t.Context()
	p := n.hostPod(t)
	_, err := n.Client.RunPod(ctx, p.config, "")
	wantCode(t, "second pod of the same name and attempt", err, codes.AlreadyExists)

	spec := criclient.ContainerSpec{Name: "twice", Image: n.program(t, "top-c")}
	c := p.create(spec)
	_, err = n.Client.Create(ctx, p.id, p.config, spec.Config())
	wantCode(t, "second container of the same name and attempt", err, codes.AlreadyExists)
	next := spec.Config()
	next.Metadata.Attempt = 1
	p.createFrom(next)
	must(t, n.Client.Remove(ctx, c.id))
	p.create(spec)

	must(t, n.Client.RemovePod(ctx, p.id))
	n.podFrom(t, p.config, "")
}
