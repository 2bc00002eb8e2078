package e2e

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// refusedMethods are those that the server answers with why it cannot.
var refusedMethods = []string{"CheckpointContainer", "CheckpointPod", "RestorePod"}

// Every method of the interface is there, or refused in a sentence: an empty
// request may be wrong, but never meets the answer of generated code.
func TestEveryMethodIsImplementedOrRefused(t *testing.T) {
	n := sharedNode(t)
	conn, err := grpc.NewClient("unix://"+n.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, name := range []string{runtime.RuntimeService_ServiceDesc.ServiceName, runtime.ImageService_ServiceDesc.ServiceName} {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			t.Run(string(m.Name()), func(t *testing.T) { checkMethod(t, conn, name, m) })
		}
	}
}

func checkMethod(t *testing.T, conn *grpc.ClientConn, service string, m protoreflect.MethodDescriptor) {
	err := callEmpty(t.Context(), conn, "/"+service+"/"+string(m.Name()), m)
	code, text := status.Code(err), status.Convert(err).Message()
	if slices.Contains(refusedMethods, string(m.Name())) {
		if code != codes.Unimplemented || !strings.Contains(text, "not supported: ") {
			t.Errorf("%v, want a refusal with the reason", err)
		}
		return
	}
	if code == codes.Unimplemented || code == codes.Internal || code == codes.Unknown {
		t.Errorf("an empty request ends with %v", err)
	}
}

// callEmpty sends an empty request. A stream is read to its end, or for a
// moment if it has none.
func callEmpty(ctx context.Context, conn *grpc.ClientConn, path string, m protoreflect.MethodDescriptor) error {
	request, reply := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, path, request, reply)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return err
	}
	for err == nil {
		err = stream.RecvMsg(reply)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// The lists come as streams, too, in more than one message if they are long.
func TestListsAsStreams(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	const count = 101
	for range count {
		p.create(criclient.ContainerSpec{Image: n.program(t, "hello-c"), NoLog: true})
	}
	filter := &runtime.ContainerFilter{PodSandboxId: p.id}
	containers, err := n.Client.StreamContainers(t.Context(), &runtime.StreamContainersRequest{Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	messages, items := 0, 0
	for {
		r, err := containers.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		messages, items = messages+1, items+len(r.Containers)
	}
	if messages != 2 || items != count {
		t.Errorf("got %d containers in %d messages, want %d in 2", items, messages, count)
	}
	pods, err := n.Client.StreamPodSandboxes(t.Context(), &runtime.StreamPodSandboxesRequest{Filter: &runtime.PodSandboxFilter{Id: p.id}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := pods.Recv(); err != nil || len(r.PodSandboxes) != 1 || r.PodSandboxes[0].Id != p.id {
		t.Errorf("got %v, %v, want the pod", r, err)
	}
	images, err := n.Client.Images.StreamImages(t.Context(), &runtime.StreamImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := images.Recv(); err != nil || len(r.Images) == 0 {
		t.Errorf("got %v, %v, want images", r, err)
	}
}
