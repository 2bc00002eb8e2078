package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
)

type rmiOptions struct{ force, unused bool }

func rmiCommand() *cobra.Command {
	var o rmiOptions
	cmd := &cobra.Command{
		Use:   "rmi IMAGE...",
		Short: "Remove images",
		Long: `Remove images with all their names, and say what was removed. The daemon must be
running.

An image that a container uses stays, and the containers are named. With --force
it loses its names all the same, and its content goes with the last container.`,
		Example: `  cri-wasmer rmi ghcr.io/example/hello-wasm:v1
  cri-wasmer rmi --unused`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.unused == (len(args) > 0) {
				return errors.New("name images, or give --unused alone")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, func(ctx context.Context, c *client) error { return rmi(ctx, cmd, c, args, o) })
		},
	}
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "also images in use")
	cmd.Flags().BoolVar(&o.unused, "unused", false, "all images that no container uses and that are not pinned")
	clientFlags(cmd)
	return cmd
}

func rmi(ctx context.Context, cmd *cobra.Command, c *client, names []string, o rmiOptions) error {
	users, err := c.users(ctx)
	if err != nil {
		return err
	}
	if o.unused {
		return removeUnused(ctx, cmd, c, users)
	}
	var errs []error
	for _, name := range names {
		e, _, err := c.image(ctx, name)
		switch {
		case err != nil:
			errs = append(errs, plain(err))
		case e == nil:
			errs = append(errs, fmt.Errorf("%s: there is no such image on this node; `cri-wasmer images` lists them", printable(name)))
		case len(users[e.Image.ID]) > 0 && !o.force:
			errs = append(errs, fmt.Errorf("%s is in use by %s: remove that first, or give --force", printable(name), strings.Join(users[e.Image.ID], ", ")))
		default:
			errs = append(errs, plain(remove(ctx, cmd, c, e.Image, users[e.Image.ID])))
		}
	}
	return errors.Join(errs...)
}

func removeUnused(ctx context.Context, cmd *cobra.Command, c *client, users map[string][]string) error {
	list, err := c.list(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range list {
		if len(users[e.Image.ID]) == 0 && len(e.HeldBy) == 0 && !e.Image.Pinned {
			errs = append(errs, plain(remove(ctx, cmd, c, e.Image, nil)))
		}
	}
	return errors.Join(errs...)
}

func remove(ctx context.Context, cmd *cobra.Command, c *client, i *imageservice.Image, users []string) error {
	if _, err := c.images.RemoveImage(ctx, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: i.ID}}); err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	for _, name := range append(i.RepoTags, i.RepoDigests...) {
		fmt.Fprintln(w, "untagged", printable(name))
	}
	if len(users) > 0 {
		fmt.Fprintf(w, "removed %s, whose content stays for %s\n", i.ID, strings.Join(users, ", "))
		return nil
	}
	fmt.Fprintf(w, "removed %s, %s\n", i.ID, bytesText(i.Size))
	return nil
}
