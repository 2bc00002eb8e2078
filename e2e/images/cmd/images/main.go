// Command images publishes the images of package images:
//
//	images -serve 127.0.0.1:5055 -mirrors DIR   from a registry of its own, until a signal
//	images -push registry.example/team          to a registry
//	images -layout DIR                          as OCI layouts
//	images -list                                prints names and ids
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/images"
)

type flags struct {
	module, serve, push, layout, mirrors string
	list, insecure, toolbox              bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("images", flag.ContinueOnError)
	set.StringVar(&f.module, "module", "", "the toolbox's `file`; built with go when empty")
	set.StringVar(&f.serve, "serve", "", "serve the images from a registry at `host:port` until a signal")
	set.StringVar(&f.push, "push", "", "push the images below `registry[/path]`")
	set.StringVar(&f.layout, "layout", "", "write the images as OCI layouts below `dir`")
	set.StringVar(&f.mirrors, "mirrors", "", "with -serve or -push: write hosts.toml files for the registries of critest below `dir`")
	set.BoolVar(&f.insecure, "insecure", false, "with -push: plain http")
	set.BoolVar(&f.toolbox, "toolbox", false, "the toolbox only")
	set.BoolVar(&f.list, "list", false, "print names and ids")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if f.serve == "" && f.push == "" && f.layout == "" && !f.list {
		return f, errors.New("nothing to do: give -serve, -push, -layout or -list")
	}
	return f, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	module, err := images.ReadModule(ctx, f.module)
	if err != nil {
		return err
	}
	all, err := images.Build(module)
	if err != nil {
		return err
	}
	if f.toolbox {
		all = all[:1]
	}
	if f.list {
		list(out, all)
	}
	if f.layout != "" {
		if err := images.WriteLayouts(f.layout, all); err != nil {
			return err
		}
	}
	if f.push != "" {
		if err := f.pushAll(ctx, all); err != nil {
			return err
		}
	}
	if f.serve == "" {
		return nil
	}
	return f.serveAll(ctx, all, out)
}

func list(out io.Writer, all []images.Image) {
	for _, img := range all {
		for _, name := range img.Names {
			fmt.Fprintln(out, name, img.ID)
		}
	}
}

func (f flags) pushAll(ctx context.Context, all []images.Image) error {
	scheme := "https://"
	if f.insecure {
		scheme = "http://"
	}
	if f.mirrors != "" {
		if err := images.WriteMirrors(f.mirrors, scheme+f.push); err != nil {
			return err
		}
	}
	return images.Push(ctx, f.push, f.insecure, all)
}

func (f flags) serveAll(ctx context.Context, all []images.Image, out io.Writer) error {
	r, err := images.Serve(ctx, f.serve, all)
	if err != nil {
		return err
	}
	if f.mirrors != "" {
		err = images.WriteMirrors(f.mirrors, "http://"+r.Host())
	}
	if err == nil {
		fmt.Fprintf(out, "serving %d images on http://%s\n", len(all), r.Host())
		<-ctx.Done()
	}
	return errors.Join(err, r.Close())
}
