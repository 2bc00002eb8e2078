// Package criclient speaks the Container Runtime Interface to a server as the
// kubelet and crictl do: over its unix socket and by nothing else.
//
// A Client has both services of the interface. PodSpec and ContainerSpec are
// short forms of the configurations that the interface wants; what they leave
// out can be changed in the long form before it is sent.
package criclient

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage is the limit of the kubelet's own client.
const maxMessage = 16 << 20

// Client is a connection to a server. Safe for concurrent use.
type Client struct {
	runtime.RuntimeServiceClient
	Images runtime.ImageServiceClient
	conn   *grpc.ClientConn
}

// Dial connects to the server on a unix socket, when the first call is made.
func Dial(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	return &Client{
		RuntimeServiceClient: runtime.NewRuntimeServiceClient(conn),
		Images:               runtime.NewImageServiceClient(conn),
		conn:                 conn,
	}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// PodSpec is a pod in short.
type PodSpec struct {
	Name         string // must be unique together with Namespace, UID and Attempt
	Namespace    string // "default" when empty
	UID          string // made of the name when empty
	LogDirectory string
	CgroupParent string
	Handler      string
	HostNetwork  bool
	Labels       map[string]string
}

// Config is the long form.
func (p PodSpec) Config() *runtime.PodSandboxConfig {
	namespace, uid := p.Namespace, p.UID
	if namespace == "" {
		namespace = "default"
	}
	if uid == "" {
		uid = "uid-" + p.Name
	}
	network, hostname := runtime.NamespaceMode_POD, p.Name
	if p.HostNetwork {
		network, hostname = runtime.NamespaceMode_NODE, ""
	}
	return &runtime.PodSandboxConfig{
		Metadata:     &runtime.PodSandboxMetadata{Name: p.Name, Namespace: namespace, Uid: uid},
		Hostname:     hostname,
		LogDirectory: p.LogDirectory,
		Labels:       p.Labels,
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent: p.CgroupParent,
			SecurityContext: &runtime.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Network: network, Pid: runtime.NamespaceMode_CONTAINER},
			},
		},
	}
}

// ContainerSpec is a container in short.
type ContainerSpec struct {
	Name        string // "main" when empty
	Image       string
	Command     []string
	Args        []string
	Env         map[string]string
	WorkingDir  string
	MemoryLimit int64 // bytes
	NoLog       bool
	Mounts      []*runtime.Mount
	Labels      map[string]string
}

// Config is the long form. The log goes to NAME/0.log below the pod's log
// directory, as the kubelet does it.
func (c ContainerSpec) Config() *runtime.ContainerConfig {
	name := c.Name
	if name == "" {
		name = "main"
	}
	config := &runtime.ContainerConfig{
		Metadata:   &runtime.ContainerMetadata{Name: name},
		Image:      &runtime.ImageSpec{Image: c.Image, UserSpecifiedImage: c.Image},
		Command:    c.Command,
		Args:       c.Args,
		WorkingDir: c.WorkingDir,
		Mounts:     c.Mounts,
		Labels:     c.Labels,
		LogPath:    filepath.Join(name, "0.log"),
		Linux: &runtime.LinuxContainerConfig{
			Resources: &runtime.LinuxContainerResources{MemoryLimitInBytes: c.MemoryLimit},
			SecurityContext: &runtime.LinuxContainerSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER},
			},
		},
	}
	if c.NoLog {
		config.LogPath = ""
	}
	for key, value := range c.Env {
		config.Envs = append(config.Envs, &runtime.KeyValue{Key: key, Value: []byte(value)})
	}
	return config
}

// Pull pulls an image and gives its id.
func (c *Client) Pull(ctx context.Context, image string) (string, error) {
	r, err := c.Images.PullImage(ctx, &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: image}})
	if err != nil {
		return "", err
	}
	return r.ImageRef, nil
}

// RunPod starts a pod and gives its id.
func (c *Client) RunPod(ctx context.Context, config *runtime.PodSandboxConfig, handler string) (string, error) {
	r, err := c.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return "", err
	}
	return r.PodSandboxId, nil
}

// RemovePod stops and removes a pod with all its containers.
func (c *Client) RemovePod(ctx context.Context, id string) error {
	if _, err := c.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return err
	}
	_, err := c.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}

// Create makes a container in a pod and gives its id.
func (c *Client) Create(ctx context.Context, pod string, podConfig *runtime.PodSandboxConfig, config *runtime.ContainerConfig) (string, error) {
	r, err := c.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: pod, Config: config, SandboxConfig: podConfig})
	if err != nil {
		return "", err
	}
	return r.ContainerId, nil
}

// Start starts a container.
func (c *Client) Start(ctx context.Context, id string) error {
	_, err := c.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: id})
	return err
}

// Stop stops a container, which gets so many seconds for it.
func (c *Client) Stop(ctx context.Context, id string, grace int64) error {
	_, err := c.StopContainer(ctx, &runtime.StopContainerRequest{ContainerId: id, Timeout: grace})
	return err
}

// Remove removes a container.
func (c *Client) Remove(ctx context.Context, id string) error {
	_, err := c.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: id})
	return err
}

// Container gives the status of a container.
func (c *Client) Container(ctx context.Context, id string) (*runtime.ContainerStatus, error) {
	r, err := c.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return nil, err
	}
	return r.Status, nil
}

// Pod gives the status of a pod.
func (c *Client) Pod(ctx context.Context, id string) (*runtime.PodSandboxStatus, error) {
	r, err := c.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return nil, err
	}
	return r.Status, nil
}

// Exec runs a command in a container and waits for its end, at most timeout
// seconds; 0 is for ever.
func (c *Client) Exec(ctx context.Context, id string, timeout int64, command ...string) (*runtime.ExecSyncResponse, error) {
	return c.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: timeout})
}

// WaitExited waits until a container has exited and gives its last status.
func (c *Client) WaitExited(ctx context.Context, id string) (*runtime.ContainerStatus, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		status, err := c.Container(ctx, id)
		if err != nil {
			return nil, err
		}
		if status.State == runtime.ContainerState_CONTAINER_EXITED {
			return status, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return status, fmt.Errorf("container %s is %s: %w", id, status.State, ctx.Err())
		}
	}
}
