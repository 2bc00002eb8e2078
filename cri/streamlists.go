package cri

import (
	"slices"

	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The lists as streams, for nodes whose lists are longer than a message can be.

// perMessage is how many items one message has at most.
const perMessage = 100

func inParts[T any](list []T, send func([]T) error) error {
	for part := range slices.Chunk(list, perMessage) {
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}

// StreamPodSandboxes implements RuntimeService.
func (s *Server) StreamPodSandboxes(r *runtimev1.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimev1.StreamPodSandboxesResponse]) error {
	return inParts(s.pods(r.GetFilter()), func(part []*runtimev1.PodSandbox) error {
		return stream.Send(&runtimev1.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

// StreamContainers implements RuntimeService.
func (s *Server) StreamContainers(r *runtimev1.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimev1.StreamContainersResponse]) error {
	return inParts(s.containers(r.GetFilter()), func(part []*runtimev1.Container) error {
		return stream.Send(&runtimev1.StreamContainersResponse{Containers: part})
	})
}

// StreamContainerStats implements RuntimeService.
func (s *Server) StreamContainerStats(r *runtimev1.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamContainerStatsResponse]) error {
	return inParts(s.containerStats(r.GetFilter()), func(part []*runtimev1.ContainerStats) error {
		return stream.Send(&runtimev1.StreamContainerStatsResponse{ContainerStats: part})
	})
}

// StreamPodSandboxStats implements RuntimeService.
func (s *Server) StreamPodSandboxStats(r *runtimev1.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamPodSandboxStatsResponse]) error {
	return inParts(s.podStats(r.GetFilter()), func(part []*runtimev1.PodSandboxStats) error {
		return stream.Send(&runtimev1.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}

// StreamPodSandboxMetrics implements RuntimeService.
func (s *Server) StreamPodSandboxMetrics(_ *runtimev1.StreamPodSandboxMetricsRequest, stream grpc.ServerStreamingServer[runtimev1.StreamPodSandboxMetricsResponse]) error {
	list, err := s.podMetrics()
	if err != nil {
		return err
	}
	return inParts(list, func(part []*runtimev1.PodSandboxMetrics) error {
		return stream.Send(&runtimev1.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part})
	})
}

// StreamImages implements ImageService.
func (s *Server) StreamImages(r *runtimev1.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimev1.StreamImagesResponse]) error {
	list, err := s.images(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return inParts(list, func(part []*runtimev1.Image) error {
		return stream.Send(&runtimev1.StreamImagesResponse{Images: part})
	})
}
