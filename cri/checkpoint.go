package cri

import (
	"context"
	"fmt"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// errCheckpoint is the answer to everything about checkpoints.
var errCheckpoint = fmt.Errorf("checkpoints are not supported: the engine cannot write the state of a WebAssembly instance to disk nor read it back; delete the pod and create it anew: %w", sandbox.ErrUnsupported)

// CheckpointContainer implements RuntimeService: it refuses.
func (s *Server) CheckpointContainer(context.Context, *runtimev1.CheckpointContainerRequest) (*runtimev1.CheckpointContainerResponse, error) {
	return nil, errCheckpoint
}

// CheckpointPod implements RuntimeService: it refuses.
func (s *Server) CheckpointPod(context.Context, *runtimev1.CheckpointPodRequest) (*runtimev1.CheckpointPodResponse, error) {
	return nil, errCheckpoint
}

// RestorePod implements RuntimeService: it refuses.
func (s *Server) RestorePod(context.Context, *runtimev1.RestorePodRequest) (*runtimev1.RestorePodResponse, error) {
	return nil, errCheckpoint
}
