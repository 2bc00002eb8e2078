package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/images"
)

type options struct {
	critest, server, module, ginkgo, keep string
	parallel                              int
	all, verbose                          bool
	args                                  []string // for critest
}

func (o *options) check() (err error) {
	if o.critest == "" {
		return errors.New("which critest? give -critest PATH (make critest CRITEST=PATH)")
	}
	if o.parallel > 1 && o.ginkgo == "" {
		return errors.New("critest starts its processes by ginkgo: give one with -ginkgo PATH (make critest builds it)")
	}
	if !isolate.Inside() {
		return errors.New("pods are namespaces, mounts and control groups, which need root")
	}
	for _, path := range []*string{&o.critest, &o.server, &o.module, &o.ginkgo, &o.keep} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	binaries := []string{o.critest, o.server}
	if o.parallel > 1 {
		binaries = append(binaries, o.ginkgo)
	}
	for _, binary := range binaries {
		if _, err := exec.LookPath(binary); err != nil {
			return err
		}
	}
	return nil
}

// conform runs the suite and gives what came of it.
func conform(ctx context.Context, o options) (*result, error) {
	dir, err := os.MkdirTemp("/tmp", "ct") // short, for the socket
	if err != nil {
		return nil, err
	}
	r, err := conformIn(ctx, dir, o)
	return r, errors.Join(err, isolate.RemoveTree(dir))
}

func conformIn(ctx context.Context, dir string, o options) (r *result, err error) {
	excluded, err := readExcluded()
	if err != nil {
		return nil, err
	}
	if o.all {
		excluded = nil
	}
	path, err := o.searchPath(dir)
	if err != nil {
		return nil, err
	}
	server, stop, err := startServer(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s := suite{options: o, dir: dir, socket: server.Socket(), path: path, excluded: excluded}
	report, err := s.run(ctx)
	if o.keep != "" {
		err = errors.Join(err, keep(o.keep, report, server.Log()))
	}
	if err != nil {
		return nil, err
	}
	return readReport(report, excluded)
}

// startServer starts a server whose registries all lead to our images.
func startServer(ctx context.Context, dir string, o options) (*daemon.Daemon, func() error, error) {
	module, err := images.ReadModule(ctx, o.module)
	if err != nil {
		return nil, nil, err
	}
	all, err := images.Build(module)
	if err != nil {
		return nil, nil, err
	}
	registry, err := images.Serve(ctx, "127.0.0.1:0", all)
	if err != nil {
		return nil, nil, err
	}
	server, err := daemon.Start(ctx, daemon.Options{Binary: o.server, Dir: filepath.Join(dir, "d"), CgroupParent: "/" + isolate.Group() + "/default"})
	if err != nil {
		return nil, nil, errors.Join(err, registry.Close())
	}
	stop := func() error {
		ctx := context.WithoutCancel(ctx)
		return errors.Join(server.RemoveAllPods(ctx), server.Close(), registry.Close())
	}
	if err := images.WriteMirrors(server.HostsDir(), "http://"+registry.Host()); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	fmt.Printf("critest: %d images on %s, server on %s\n", len(all), registry.Host(), server.Socket())
	return server, stop, nil
}

// searchPath is PATH with the ginkgo in front by which critest starts its
// processes.
func (o *options) searchPath(dir string) (string, error) {
	path := os.Getenv("PATH")
	if o.parallel <= 1 {
		return path, nil
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return "", err
	}
	return bin + ":" + path, os.Symlink(o.ginkgo, filepath.Join(bin, "ginkgo"))
}

// suite is one run of critest.
type suite struct {
	options
	dir, socket, path string
	excluded          []exclusion
}

const reportName = "critest-report.json"

// run gives the file with the report, whether specs failed or not.
func (s *suite) run(ctx context.Context) (string, error) {
	work := filepath.Join(s.dir, "w")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	log, err := os.Create(filepath.Join(s.dir, "critest.log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, s.critest, s.command()...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "PATH="+s.path, "TMPDIR="+work)
	cmd.Stdout = io.Writer(log)
	if s.verbose {
		cmd.Stdout = io.MultiWriter(log, os.Stdout)
	}
	cmd.Stderr = cmd.Stdout
	failed := cmd.Run() // also when a spec fails
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	report, err := find(work, reportName)
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return "", errors.Join(fmt.Errorf("critest gave no report: %w; it said:\n%s", err, text), failed)
	}
	return report, nil
}

func (s *suite) command() []string {
	args := []string{"-runtime-endpoint", "unix://" + s.socket, "-ginkgo.no-color", "-ginkgo.json-report", reportName}
	if s.parallel > 1 {
		args = append(args, "-parallel", strconv.Itoa(s.parallel))
	}
	for _, e := range s.excluded {
		args = append(args, "-ginkgo.skip", e.pattern())
	}
	return append(args, s.args...)
}

// find gives the file of that name below dir: the ginkgo command puts it beside
// the binary that it runs.
func find(dir, name string) (string, error) {
	found := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			found = path
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("no %s below %s", name, dir)
	}
	return found, err
}

// keep copies what explains a failure.
func keep(dir, report, log string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := os.WriteFile(filepath.Join(dir, "server.log"), []byte(log), 0o644)
	if report == "" {
		return err
	}
	data, e := os.ReadFile(report)
	if e != nil {
		return errors.Join(err, e)
	}
	return errors.Join(err, os.WriteFile(filepath.Join(dir, reportName), data, 0o644))
}
