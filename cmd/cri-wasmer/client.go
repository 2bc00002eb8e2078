package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

const (
	dialTimeout = 3 * time.Second
	callTimeout = 30 * time.Second // of what the daemon answers from memory
	maxMessage  = 16 << 20
)

// client talks to the running daemon over its CRI socket, as a kubelet would.
// Safe for concurrent use.
type client struct {
	conn    *grpc.ClientConn
	images  runtimev1.ImageServiceClient
	runtime runtimev1.RuntimeServiceClient
}

// withClient runs a command against the daemon that the flags and the
// configuration name. The context ends with the first SIGINT or SIGTERM.
func withClient(cmd *cobra.Command, run func(ctx context.Context, c *client) error) error {
	conf, err := config.Load(cmd.Flags(), os.Environ())
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c, err := dialDaemon(ctx, conf.Socket)
	if err != nil {
		return err
	}
	defer c.close()
	return plain(run(ctx, c))
}

// clientFlags are the flags of commands that talk to the daemon.
func clientFlags(cmd *cobra.Command) { config.AddFlags(cmd.Flags(), "socket") }

// dialDaemon connects. That nobody listens is told in words that help.
func dialDaemon(ctx context.Context, socket string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	probe, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, unreachable(socket, err)
	}
	probe.Close()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	return &client{conn: conn, images: runtimev1.NewImageServiceClient(conn), runtime: runtimev1.NewRuntimeServiceClient(conn)}, nil
}

func (c *client) close() { c.conn.Close() }

func unreachable(socket string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("may not use the socket %s: try sudo, or see the option socket_gid", socket)
	}
	why := err
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		why = op.Err
	}
	return fmt.Errorf("no daemon answers at %s (%w): start it with `systemctl start cri-wasmer` or `cri-wasmer serve`, or name its socket with --socket",
		socket, why)
}

// plain takes the wrapping of gRPC off an error, whose text says it all.
func plain(err error) error {
	s, ok := status.FromError(err)
	switch {
	case err == nil || !ok:
		return err
	case s.Code() == codes.Canceled:
		return errors.New("interrupted")
	}
	return errors.New(s.Message())
}

// image gives an image and what the daemon knows of it; nil without an error
// when there is none. Pulls are those of the name that are under way.
func (c *client) image(ctx context.Context, name string) (*imageservice.Explanation, []imageservice.PullProgress, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := c.images.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: name}, Verbose: true})
	if err != nil {
		return nil, nil, err
	}
	var pulls []imageservice.PullProgress
	if text := r.Info["pull"]; text != "" {
		if err := json.Unmarshal([]byte(text), &pulls); err != nil {
			return nil, nil, badAnswer(err)
		}
	}
	text := r.Info["info"]
	if r.Image == nil || text == "" {
		return nil, pulls, nil
	}
	e := &imageservice.Explanation{}
	if err := json.Unmarshal([]byte(text), e); err != nil {
		return nil, nil, badAnswer(err)
	}
	if e.Image == nil {
		return nil, nil, badAnswer(errors.New("no image in it"))
	}
	return e, pulls, nil
}

func badAnswer(err error) error {
	return fmt.Errorf("the daemon's answer is not understood (%w): is it of the same version, and a cri-wasmer?", err)
}

// list gives all images, explained.
func (c *client) list(ctx context.Context) ([]*imageservice.Explanation, error) {
	r, err := c.images.ListImages(ctx, &runtimev1.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	var list []*imageservice.Explanation
	for _, i := range r.Images {
		e, _, err := c.image(ctx, i.Id)
		if err != nil {
			return nil, err
		}
		if e != nil { // else it was removed meanwhile
			list = append(list, e)
		}
	}
	return list, nil
}

// users lists the containers that use images, by the id of the image, in words.
func (c *client) users(ctx context.Context) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := c.runtime.ListContainers(ctx, &runtimev1.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, ctr := range r.Containers {
		state := strings.ToLower(strings.TrimPrefix(ctr.State.String(), "CONTAINER_"))
		text := fmt.Sprintf("container %s (%s, %s)", shortID(ctr.Id), ctr.GetMetadata().GetName(), state)
		users[ctr.ImageId] = append(users[ctr.ImageId], text)
	}
	return users, nil
}

func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(len(id), 13)]
}
