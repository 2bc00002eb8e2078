package cri

import (
	"context"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// The metrics are those that the kubelet has from cAdvisor, by the same names
// and labels, so that it can serve them in its place as /metrics/cadvisor. The
// API has whole numbers only: seconds are cut.

// ListMetricDescriptors implements RuntimeService.
func (s *Server) ListMetricDescriptors(context.Context, *runtimev1.ListMetricDescriptorsRequest) (*runtimev1.ListMetricDescriptorsResponse, error) {
	resp := &runtimev1.ListMetricDescriptorsResponse{}
	for i := range metrics {
		m := &metrics[i]
		resp.Descriptors = append(resp.Descriptors, &runtimev1.MetricDescriptor{
			Name: m.name, Help: m.help, LabelKeys: append(append([]string(nil), commonLabels...), m.labels...),
		})
	}
	return resp, nil
}

// ListPodSandboxMetrics implements RuntimeService. It lists pods that are ready.
func (s *Server) ListPodSandboxMetrics(context.Context, *runtimev1.ListPodSandboxMetricsRequest) (*runtimev1.ListPodSandboxMetricsResponse, error) {
	list, err := s.podMetrics()
	return &runtimev1.ListPodSandboxMetricsResponse{PodMetrics: list}, err
}

func (s *Server) podMetrics() ([]*runtimev1.PodSandboxMetrics, error) {
	disk, err := s.Manager.FilesystemOfLayers()
	if err != nil {
		return nil, err
	}
	var list []*runtimev1.PodSandboxMetrics
	for _, p := range s.Manager.Pods() {
		if p.Status().Phase != sandbox.PhaseReady {
			continue
		}
		m, err := s.Manager.Measure(p)
		if err != nil {
			s.skipped("pod", p.ID(), err)
			continue
		}
		list = append(list, showPodMetrics(m, disk))
	}
	return list, nil
}

// commonLabels are those of every metric, in order.
var commonLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

func showPodMetrics(m *sandbox.PodMeasurement, disk sandbox.Filesystem) *runtimev1.PodSandboxMetrics {
	pod := subject{kind: ofPod, pod: m, labels: []string{"", "", "", m.ID, m.Config.Namespace, m.Config.Name}}
	if m.Group != nil {
		pod.group, pod.labels[1] = &m.Group.CgroupStats, m.Group.Path
	}
	r := &runtimev1.PodSandboxMetrics{PodSandboxId: m.ID, Metrics: pod.show()}
	for i := range m.Containers {
		c := &m.Containers[i]
		one := subject{
			kind: ofContainer, pod: m, container: c, group: &c.CgroupStats, disk: disk,
			labels: []string{c.Config.Name, c.Cgroup, imageName(c), c.ID, m.Config.Namespace, m.Config.Name},
		}
		r.ContainerMetrics = append(r.ContainerMetrics, &runtimev1.ContainerMetrics{ContainerId: c.ID, Metrics: one.show()})
	}
	return r
}

// imageName is the image as the user knows it.
func imageName(c *sandbox.Measurement) string {
	if c.Config.UserImage != "" {
		return c.Config.UserImage
	}
	return c.Config.Image
}

// kinds of what has metrics, as bits.
type kinds uint8

const (
	ofPod kinds = 1 << iota
	ofContainer
)

// subject is what metrics are about: a pod or a container of it.
type subject struct {
	kind      kinds
	pod       *sandbox.PodMeasurement
	container *sandbox.Measurement // nil for a pod
	group     *sandbox.CgroupStats // nil for a pod without a group of its own
	disk      sandbox.Filesystem
	labels    []string // values of commonLabels
}

func (s *subject) show() []*runtimev1.Metric {
	var list []*runtimev1.Metric
	for i := range metrics {
		m := &metrics[i]
		if m.kinds&s.kind == 0 || (m.group != nil && s.group == nil) {
			continue
		}
		for _, v := range m.values(s) {
			list = append(list, &runtimev1.Metric{
				Name: m.name, Timestamp: v.at, MetricType: m.kind, LabelValues: append(append([]string(nil), s.labels...), v.labels...), Value: value(v.value),
			})
		}
	}
	return list
}

// sample is one value of a metric.
type sample struct {
	labels []string // values of the metric's own labels
	value  uint64
	at     int64 // nanoseconds; 0 for what was measured just now
}

// metric is one of cAdvisor's. It has one of the functions.
type metric struct {
	name   string
	help   string
	kind   runtimev1.MetricType
	kinds  kinds
	labels []string // beside commonLabels

	group   func(*sandbox.CgroupStats) []sample // of what has a control group
	subject func(*subject) []sample
}

func (m *metric) values(s *subject) []sample {
	if m.group != nil {
		return m.group(s.group)
	}
	return m.subject(s)
}

// one is the sample of a metric without labels of its own.
func one(v uint64) []sample { return []sample{{value: v}} }

// wholeSeconds cuts nanoseconds to what the API can carry.
func wholeSeconds(nanoseconds uint64) uint64 { return nanoseconds / uint64(time.Second) }

// unix is a time in seconds; none is 0.
func unix(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(0, t.Unix()))
}
