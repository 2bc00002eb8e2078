package cri

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"

	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Config wires the edge.
type Config struct {
	Manager  *sandbox.Manager
	Images   *imageservice.Service
	Streams  *Streams
	Network  Network
	Driver   sandbox.CgroupDriver
	Version  string // of this program
	Handlers []string
	// Verbose is shown by Status with verbose as its info, as JSON.
	Verbose func() map[string]any
	// ContainerFS is the directory of the writable layers, for ImageFsInfo.
	ContainerFS string
	RecursiveRO bool // the kernel can make mounts read-only recursively
	UserNS      bool // pods can have user namespaces, and mounts with mapped ids
	// Stopping is closed when the server is about to stop: streams without an
	// end of their own end then.
	Stopping <-chan struct{}
	Options  []grpc.ServerOption // further ones, such as those that count requests
	Logger   *slog.Logger
}

// Network is what the edge asks of the pod network.
type Network interface {
	Status(ctx context.Context) sandbox.NetworkStatus
	UpdatePodCIDR(cidr string) error
}

// Server implements RuntimeService and ImageService: all methods, or it does not
// compile. Safe for concurrent use.
type Server struct {
	runtimev1.UnsafeRuntimeServiceServer
	runtimev1.UnsafeImageServiceServer
	Config
}

// maxMessage is what the CRI clients of the field accept, in bytes.
const maxMessage = 16 << 20

// NewServer gives a gRPC server with both services. The caller serves and
// stops it.
func NewServer(c Config) *grpc.Server {
	s := &Server{Config: c}
	g := grpc.NewServer(append(c.Options[:len(c.Options):len(c.Options)],
		grpc.ChainUnaryInterceptor(intercept(c.Logger)), grpc.ChainStreamInterceptor(interceptStream(c.Logger)),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
	)...)
	runtimev1.RegisterRuntimeServiceServer(g, s)
	runtimev1.RegisterImageServiceServer(g, s)
	return g
}

const (
	runtimeName = "cri-wasmer"
	apiVersion  = "v1"
	kubeVersion = "0.1.0" // of the kubelet's side of this call, for ever
)

// Version implements RuntimeService.
func (s *Server) Version(context.Context, *runtimev1.VersionRequest) (*runtimev1.VersionResponse, error) {
	return &runtimev1.VersionResponse{Version: kubeVersion, RuntimeName: runtimeName, RuntimeVersion: s.Config.Version, RuntimeApiVersion: apiVersion}, nil
}

// Status implements RuntimeService.
func (s *Server) Status(ctx context.Context, r *runtimev1.StatusRequest) (*runtimev1.StatusResponse, error) {
	network := s.Network.Status(ctx)
	resp := &runtimev1.StatusResponse{
		Status: &runtimev1.RuntimeStatus{Conditions: []*runtimev1.RuntimeCondition{
			{Type: runtimev1.RuntimeReady, Status: true},
			{Type: runtimev1.NetworkReady, Status: network.Ready, Reason: network.Reason, Message: network.Detail},
		}},
		Features: &runtimev1.RuntimeFeatures{SupplementalGroupsPolicy: true, UserNamespacesHostNetwork: s.UserNS, MountOptions: s.RecursiveRO},
	}
	for _, name := range append([]string{""}, s.Handlers...) {
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimev1.RuntimeHandler{
			Name: name, Features: &runtimev1.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: s.RecursiveRO, UserNamespaces: s.UserNS},
		})
	}
	if !r.Verbose {
		return resp, nil
	}
	var err error
	resp.Info, err = s.verbose(network)
	return resp, err
}

func (s *Server) verbose(network sandbox.NetworkStatus) (map[string]string, error) {
	info := map[string]any{"golang": runtime.Version(), "network": map[string]any{"name": network.Name, "ready": network.Ready, "detail": network.Detail}}
	for k, v := range s.Verbose() {
		info[k] = v
	}
	return jsonValues(info)
}

// jsonValues makes an info map: strings as they are, all else as JSON.
func jsonValues(values map[string]any) (map[string]string, error) {
	info := make(map[string]string, len(values))
	var errs []error
	for k, v := range values {
		if text, ok := v.(string); ok {
			info[k] = text
			continue
		}
		b, err := json.Marshal(v)
		errs = append(errs, err)
		info[k] = string(b)
	}
	return info, errors.Join(errs...)
}

// RuntimeConfig implements RuntimeService.
func (s *Server) RuntimeConfig(context.Context, *runtimev1.RuntimeConfigRequest) (*runtimev1.RuntimeConfigResponse, error) {
	driver := runtimev1.CgroupDriver_CGROUPFS
	if s.Driver == sandbox.DriverSystemd {
		driver = runtimev1.CgroupDriver_SYSTEMD
	}
	return &runtimev1.RuntimeConfigResponse{Linux: &runtimev1.LinuxRuntimeConfiguration{CgroupDriver: driver}}, nil
}

// UpdateRuntimeConfig implements RuntimeService.
func (s *Server) UpdateRuntimeConfig(_ context.Context, r *runtimev1.UpdateRuntimeConfigRequest) (*runtimev1.UpdateRuntimeConfigResponse, error) {
	if cidr := r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr(); cidr != "" {
		if err := s.Network.UpdatePodCIDR(cidr); err != nil {
			return nil, err
		}
	}
	return &runtimev1.UpdateRuntimeConfigResponse{}, nil
}
