package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/registry"
)

type pullOptions struct {
	creds        string
	dockerConfig string
	quiet        bool
}

func pullCommand() *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Pull images and compile their programs",
		Long: `Pull images, as a kubelet would have it done, and compile their programs.

The daemon must be running; it does the work. Progress goes to stderr: bars on a
terminal, lines elsewhere. The ids of the images go to stdout.

An image whose program cannot run here is pulled all the same, and the reason is
told; "cri-wasmer inspect" tells more.`,
		Example: `  cri-wasmer pull ghcr.io/example/hello-wasm:v1
  cri-wasmer pull --creds robot registry.example/private:v1 < password-file`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, func(ctx context.Context, c *client) error {
				var errs []error
				for _, ref := range args {
					if err := pull(ctx, cmd, c, ref, &o); err != nil {
						errs = append(errs, plain(err))
					}
					if ctx.Err() != nil {
						break
					}
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().StringVar(&o.creds, "creds", "", "`USER[:PASSWORD]` for the registry; without a password it is read from standard input")
	cmd.Flags().StringVar(&o.dockerConfig, "docker-config", "", "docker's `config.json` with credentials (default $DOCKER_CONFIG/config.json or ~/.docker/config.json)")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print ids alone")
	clientFlags(cmd)
	return cmd
}

func pull(ctx context.Context, cmd *cobra.Command, c *client, ref string, o *pullOptions) error {
	auth, err := o.auth(cmd, ref)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		id  string
		err error
	}
	pulled := make(chan result, 1)
	go func() {
		r, err := c.images.PullImage(ctx, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: ref}, Auth: auth})
		pulled <- result{r.GetImageRef(), err}
	}()
	view := newPullView(cmd.ErrOrStderr(), ref, o.quiet)
	tick := time.NewTicker(view.interval())
	defer tick.Stop()
	for {
		select {
		case r := <-pulled:
			view.end()
			if r.err != nil {
				return r.err
			}
			return report(ctx, cmd, c, ref, r.id, o.quiet)
		case <-tick.C:
			// An error here is no matter: the pull itself will tell.
			if _, pulls, err := c.image(ctx, ref); err == nil && len(pulls) > 0 {
				view.show(pulls[0], time.Now())
			}
		}
	}
}

// report tells what came of a pull.
func report(ctx context.Context, cmd *cobra.Command, c *client, ref, id string, quiet bool) error {
	fmt.Fprintln(cmd.OutOrStdout(), id)
	if quiet {
		return nil
	}
	e, _, err := c.image(ctx, id)
	if err != nil || e == nil {
		return err
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "pulled %s: %s, %s\n", printable(ref), bytesText(e.Image.Size), e.FormatText)
	if !e.WouldRun {
		fmt.Fprintf(w, "it does not run here as it is: %s\n", printable(e.Why))
	}
	return nil
}

// auth gives the credential for an image: that of the flag, else docker's.
func (o *pullOptions) auth(cmd *cobra.Command, ref string) (*runtimev1.AuthConfig, error) {
	if o.creds != "" {
		if err := o.completeCreds(cmd); err != nil {
			return nil, err
		}
		user, password, _ := strings.Cut(o.creds, ":")
		return &runtimev1.AuthConfig{Username: user, Password: password}, nil
	}
	file := cmp.Or(o.dockerConfig, dockerConfigFile())
	name, err := imageservice.ParseReference(ref)
	if err != nil || file == "" {
		return nil, nil // the daemon says what is wrong with the name
	}
	if _, err := os.Stat(file); err != nil && o.dockerConfig != "" {
		return nil, err
	}
	a, err := registry.FromDockerConfig(file, name.Domain)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", name.Domain, err)
	}
	if a.IsZero() {
		return nil, nil
	}
	return &runtimev1.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}, nil
}

func dockerConfigFile() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker", "config.json")
}

// completeCreds asks for the password that the flag leaves out, once.
func (o *pullOptions) completeCreds(cmd *cobra.Command) error {
	if strings.Contains(o.creds, ":") {
		return nil
	}
	password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr(), "Password of "+o.creds+": ")
	if err != nil {
		return fmt.Errorf("read password of %s: %w", o.creds, err)
	}
	o.creds += ":" + password
	return nil
}

// readPassword reads a line, without showing it when it is typed.
func readPassword(in io.Reader, prompt io.Writer, question string) (string, error) {
	if f, ok := in.(*os.File); ok {
		if old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			fmt.Fprint(prompt, question)
			silent := *old
			silent.Lflag &^= unix.ECHO
			if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &silent); err != nil {
				return "", err
			}
			defer fmt.Fprintln(prompt)
			defer unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, old)
		}
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}
