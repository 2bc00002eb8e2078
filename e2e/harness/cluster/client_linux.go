package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// newClient knows the types of the core group alone, which is what assertions
// are about; kubectl does the rest.
func newClient(server string, p *pki) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("know the types of pods: %w", err)
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	client, err := rest.RESTClientFor(&rest.Config{
		Host:    server,
		APIPath: "/api",
		QPS:     -1, // no limit
		ContentConfig: rest.ContentConfig{
			GroupVersion:         &corev1.SchemeGroupVersion,
			NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
		},
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   p.crt("ca"),
			CertFile: p.crt(admin),
			KeyFile:  p.keyFile(admin),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make client of the API server: %w", err)
	}
	return client, nil
}

// REST speaks to the core group of the API.
func (c *Cluster) REST() *rest.RESTClient { return c.client }

// Pod gets a pod.
func (c *Cluster) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	return pod, c.client.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(pod)
}

// Pods lists the pods that a label selector takes; "" takes all.
func (c *Cluster) Pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := c.client.Get().Namespace(namespace).Resource("pods").Param("labelSelector", selector).Do(ctx).Into(list)
	return list.Items, err
}

// Events lists the events of a namespace.
func (c *Cluster) Events(ctx context.Context, namespace string) ([]corev1.Event, error) {
	list := &corev1.EventList{}
	err := c.client.Get().Namespace(namespace).Resource("events").Do(ctx).Into(list)
	return list.Items, err
}

// Node gets the node.
func (c *Cluster) Node(ctx context.Context) (*corev1.Node, error) {
	node := &corev1.Node{}
	return node, c.client.Get().Resource("nodes").Name(c.options.NodeName).Do(ctx).Into(node)
}

func (c *Cluster) nodeReady(ctx context.Context) (bool, error) {
	node, err := c.Node(ctx)
	if err != nil {
		return false, err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue, nil
		}
	}
	return false, nil
}

// WatchPods follows the pods of a namespace.
func (c *Cluster) WatchPods(ctx context.Context, namespace string) (watch.Interface, error) {
	return c.client.Get().Namespace(namespace).Resource("pods").Param("watch", "true").Watch(ctx)
}

// Raw gets a path of the API, such as the kubelet's behind
// /api/v1/nodes/NAME/proxy.
func (c *Cluster) Raw(ctx context.Context, path string) ([]byte, error) {
	return c.client.Get().AbsPath(path).Do(ctx).Raw()
}
