package cri

import (
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"google.golang.org/grpc"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

var eventKinds = map[sandbox.EventKind]runtimev1.ContainerEventType{
	sandbox.EventCreated: runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT,
	sandbox.EventStarted: runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT,
	sandbox.EventStopped: runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT,
	sandbox.EventDeleted: runtimev1.ContainerEventType_CONTAINER_DELETED_EVENT,
}

// GetContainerEvents implements RuntimeService. The stream ends with the client,
// or with the server, or with an error when the client is too slow.
func (s *Server) GetContainerEvents(_ *runtimev1.GetEventsRequest, stream grpc.ServerStreamingServer[runtimev1.ContainerEventResponse]) error {
	sub := s.Manager.Subscribe()
	defer sub.Close()
	for {
		select {
		case e, open := <-sub.Events():
			if !open {
				return sub.Err()
			}
			if err := stream.Send(showEvent(&e)); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.Stopping:
			return nil
		}
	}
}

func showEvent(e *sandbox.Event) *runtimev1.ContainerEventResponse {
	r := &runtimev1.ContainerEventResponse{
		ContainerId: e.ID, ContainerEventType: eventKinds[e.Kind], CreatedAt: e.Time.UnixNano(), PodSandboxStatus: showPodStatus(e.Pod),
	}
	for i := range e.Containers {
		r.ContainersStatuses = append(r.ContainersStatuses, showContainerStatus(e.Containers[i]))
	}
	return r
}
