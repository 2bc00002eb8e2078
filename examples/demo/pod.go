package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/crilog"
)

// result is what a pod with one container came to.
type result struct {
	pod    string
	ip     string
	lines  []string // of its log
	first  time.Duration
	status *runtime.ContainerStatus
}

// want checks how the container ended and that it wrote a line.
func (r *result) want(code int32, line string) error {
	if r.status.ExitCode != code {
		return fmt.Errorf("container of pod %s has exit code %d (%s %s), want %d", r.pod, r.status.ExitCode, r.status.Reason, r.status.Message, code)
	}
	if !slices.Contains(r.lines, line) {
		return fmt.Errorf("log of pod %s is %q, want %q in it", r.pod, r.lines, line)
	}
	return nil
}

// pod runs image in a pod of its own until it ends, and removes the pod.
func (s *stage) pod(ctx context.Context, name, image string, args []string, env ...string) (r *result, err error) {
	client := s.server.Client
	config := criclient.PodSpec{Name: name, LogDirectory: filepath.Join(s.dir, "logs", name)}.Config()
	container := criclient.ContainerSpec{Name: "hello", Image: image, Args: args, Env: parseEnv(env)}.Config()
	start := time.Now()
	id, err := client.RunPod(ctx, config, "")
	if err != nil {
		return nil, fmt.Errorf("run pod %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, client.RemovePod(context.WithoutCancel(ctx), id)) }()
	c, err := client.Create(ctx, id, config, container)
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	if err := client.Start(ctx, c); err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	ended, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	status, err := client.WaitExited(ended, c)
	if err != nil {
		return nil, err
	}
	pod, err := client.Pod(ctx, id)
	if err != nil {
		return nil, err
	}
	entries, err := crilog.ReadFile(status.LogPath)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("the log of pod %s is empty; the container ended with code %d: %s %s", name, status.ExitCode, status.Reason, status.Message)
	}
	return &result{
		pod:    id,
		ip:     pod.GetNetwork().GetIp(),
		lines:  crilog.Lines(entries, ""),
		first:  entries[0].Time.Sub(start), // both are of this machine's clock
		status: status,
	}, nil
}

func parseEnv(list []string) map[string]string {
	env := map[string]string{}
	for _, kv := range list {
		key, value, _ := strings.Cut(kv, "=")
		env[key] = value
	}
	return env
}
