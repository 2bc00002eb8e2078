package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// seedImage is the image of the well-known Krustlet example. Its registry is a
// thing of the past; a mirror entry leads to ours.
const seedImage = "webassembly.azurecr.io/hello-wasm:v1"

type options struct {
	binary  string
	guests  string
	warm    int
	verbose bool
}

// stage is what the demo stands on: directories, a registry and a server.
type stage struct {
	dir      string
	registry *images.Registry
	server   *daemon.Daemon
}

func show(ctx context.Context, o options) (summary string, err error) {
	fmt.Println("cri-wasmer: WebAssembly modules as pods, through the Container Runtime Interface")
	s := &stage{}
	defer func() { err = errors.Join(err, s.strike(err != nil || o.verbose)) }()
	if err := s.build(ctx, o); err != nil {
		return "", err
	}
	cold, err := s.cold(ctx)
	if err != nil {
		return "", err
	}
	warm, err := s.warm(ctx, o.warm)
	if err != nil {
		return "", err
	}
	if err := s.others(ctx, o); err != nil {
		return "", err
	}
	if err := s.clean(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s ran as a pod: first log line %s after RunPodSandbox, warm %s", seedImage, ms(cold), ms(warm)), nil
}

// build starts the registry and the server.
func (s *stage) build(ctx context.Context, o options) error {
	heading("The stage")
	dir, err := os.MkdirTemp("", "cw")
	if err != nil {
		return err
	}
	s.dir = dir
	if s.registry, err = images.NewRegistry(); err != nil {
		return err
	}
	module, err := os.ReadFile(filepath.Join(o.guests, "hello-rust.wasm"))
	if err != nil {
		return fmt.Errorf("the guest is missing (make guests): %w", err)
	}
	digest, err := s.registry.Push("hello-wasm", "v1", images.Krustlet(module))
	if err != nil {
		return err
	}
	fact("registry", "%s holds hello-wasm:v1, a module of %d KiB from Rust", s.registry.Host(), len(module)>>10)
	fact("manifest", "%s (Krustlet's shape: no root filesystem, an empty config)", digest[:19])

	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return err
	}
	start := time.Now()
	s.server, err = daemon.Start(ctx, daemon.Options{
		Binary:       binary,
		Dir:          dir,
		Hosts:        map[string]string{"webassembly.azurecr.io": daemon.Mirror(s.registry.URL())},
		CgroupParent: "/" + isolate.Group(),
	})
	if err != nil {
		return err
	}
	fact("server", "pid %d answers on %s after %s", s.server.PID(), s.server.Socket(), ms(time.Since(start)))
	version, err := s.server.Client.Version(ctx, &runtime.VersionRequest{})
	if err != nil {
		return err
	}
	fact("version", "%s %s, CRI %s", version.RuntimeName, version.RuntimeVersion, version.RuntimeApiVersion)
	return nil
}

// cold runs the seed's image for the first time and gives the time from
// RunPodSandbox to the first log line.
func (s *stage) cold(ctx context.Context) (time.Duration, error) {
	heading("Cold: an image that this machine has never seen")
	start := time.Now()
	id, err := s.server.Client.Pull(ctx, seedImage)
	if err != nil {
		return 0, fmt.Errorf("pull %s: %w", seedImage, err)
	}
	pulled := time.Since(start)
	fact("pull", "%s in %s, machine code compiled (image id %s)", seedImage, ms(pulled), short(id))
	r, err := s.pod(ctx, "hello-wasm", seedImage, []string{"one", "two"})
	if err != nil {
		return 0, err
	}
	fact("pod", "%s has address %s", short(r.pod), r.ip)
	fmt.Println("\n  $ kubectl logs hello-wasm")
	for _, line := range r.lines {
		fmt.Println("  " + line)
	}
	fmt.Println()
	fact("exit", "code %d, reason %s", r.status.ExitCode, r.status.Reason)
	fact("time", "%s from RunPodSandbox to the first log line; with the pull %s", ms(r.first), ms(pulled+r.first))
	return r.first, r.want(0, "hello from rust")
}

// warm runs the same image again and gives the median time to the first line.
func (s *stage) warm(ctx context.Context, times int) (time.Duration, error) {
	heading("Warm: the same image again")
	var all []time.Duration
	for i := range max(1, times) {
		r, err := s.pod(ctx, fmt.Sprintf("hello-again-%d", i), seedImage, nil)
		if err != nil {
			return 0, err
		}
		if err := r.want(0, "hello from rust"); err != nil {
			return 0, err
		}
		all = append(all, r.first)
	}
	slices.Sort(all)
	median := all[len(all)/2]
	fact("time", "%s from RunPodSandbox to the first log line (median of %d, best %s)", ms(median), len(all), ms(all[0]))
	return median, nil
}

// others runs the same program from other languages and in other formats,
// straight from the registry on loopback.
func (s *stage) others(ctx context.Context, o options) error {
	heading("Other languages, other formats, plain loopback registry")
	for _, other := range []struct {
		name, format string
		image        func(module []byte) images.Artifact
		code         int32
	}{
		{"go", "an OCI image FROM scratch", func(m []byte) images.Artifact { return images.Program(m).Artifact() }, 0},
		{"c", "an artifact of the CNCF's kind", images.CNCF, 7},
	} {
		module, err := os.ReadFile(filepath.Join(o.guests, "hello-"+other.name+".wasm"))
		if err != nil {
			return fmt.Errorf("the guest is missing (make guests): %w", err)
		}
		if _, err := s.registry.Push("hello-"+other.name, "v1", other.image(module)); err != nil {
			return err
		}
		ref := s.registry.Host() + "/hello-" + other.name + ":v1"
		start := time.Now()
		if _, err := s.server.Client.Pull(ctx, ref); err != nil {
			return fmt.Errorf("pull %s: %w", ref, err)
		}
		pulled := time.Since(start)
		r, err := s.pod(ctx, "hello-"+other.name, ref, nil, fmt.Sprintf("EXIT_CODE=%d", other.code))
		if err != nil {
			return err
		}
		if err := r.want(other.code, "hello from "+other.name); err != nil {
			return err
		}
		fact(other.name, "%s: pulled and compiled in %s, first line after %s, %q, exit code %d",
			other.format, ms(pulled), ms(r.first), r.lines[0], r.status.ExitCode)
	}
	return nil
}

// clean removes all pods and images by CRI and looks whether they are gone.
func (s *stage) clean(ctx context.Context) error {
	heading("Clean up")
	if err := s.server.RemoveAllPods(ctx); err != nil {
		return err
	}
	list, err := s.server.Client.Images.ListImages(ctx, &runtime.ListImagesRequest{})
	if err != nil {
		return err
	}
	for _, i := range list.Images {
		if _, err := s.server.Client.Images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: i.Id}}); err != nil {
			return fmt.Errorf("remove image %s: %w", i.Id, err)
		}
	}
	pods, err := s.server.Client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	if n := len(pods.Items); n > 0 {
		return fmt.Errorf("%d pods are still there", n)
	}
	fact("removed", "all pods and %d images", len(list.Images))
	return nil
}

// strike takes the stage down, whatever there is of it, and shows the end of
// the server's log if asked to.
func (s *stage) strike(showLog bool) error {
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
		if showLog {
			fmt.Fprintln(os.Stderr, "\nThe end of the server's log:")
			fmt.Fprintln(os.Stderr, indent(s.server.Tail(25)))
		}
	}
	if s.registry != nil {
		s.registry.Close()
	}
	if s.dir != "" {
		errs = append(errs, isolate.RemoveTree(s.dir))
	}
	return errors.Join(errs...)
}

func heading(text string) { fmt.Printf("\n%s\n", text) }

func fact(name, format string, args ...any) {
	fmt.Printf("  %-9s %s\n", name, fmt.Sprintf(format, args...))
}

func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(13, len(id))]
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}
