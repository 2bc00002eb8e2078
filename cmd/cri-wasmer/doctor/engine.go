package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/registry"
)

// tiny is a module that does nothing: it exports an empty _start.
const tiny = "\x00asm\x01\x00\x00\x00" +
	"\x01\x04\x01\x60\x00\x00" + // a type () -> ()
	"\x03\x02\x01\x00" + // a function of it
	"\x07\x0a\x01\x06_start\x00\x00" + // its export
	"\x0a\x04\x01\x02\x00\x0b" // its body

// worker has the worker load its library and compile a module.
func (d *Doctor) worker(ctx context.Context) {
	path, err := d.Options.WorkerPath()
	if err != nil {
		d.problem("install it with `make install`, or set the option worker", "%v", err)
		return
	}
	begin := time.Now()
	engine, err := compileTiny(ctx, path)
	if err != nil {
		d.problem("install binary, worker and libwasmer.so of one release (`make install`)", "%v", err)
		return
	}
	d.ok("%s: %s compiles, in %s with its start", path, engine, time.Since(begin).Round(time.Millisecond))
	if d.Options.Image.SignaturePolicy == "" {
		return
	}
	if _, err := d.Options.VerifierPath(); err != nil {
		d.problem("install it with `make install`, or set the option image.verifier", "images must be signed, and nothing can check that: %v", err)
	}
	if _, err := os.Stat(d.Options.Image.SignaturePolicy); err != nil {
		d.problem("correct the option image.signature_policy", "images must be signed as a file says that is not there: %v", err)
	}
}

func compileTiny(ctx context.Context, worker string) (engine string, err error) {
	dir, err := os.MkdirTemp("", "cri-wasmer-doctor-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "tiny.wasm")
	if err := os.WriteFile(file, []byte(tiny), 0o600); err != nil {
		return "", err
	}
	module, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer module.Close()
	cache, err := codecache.Open(ctx, codecache.Config{Dir: filepath.Join(dir, "code"), Worker: worker})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	code, err := cache.Code(ctx, module)
	if err != nil {
		return "", err
	}
	return cache.String(), code.Close()
}

const maxShown = 20 // problems of one kind

// images has the store checked.
func (d *Doctor) images(ctx context.Context) {
	root := filepath.Join(d.Options.Root, "images")
	if _, err := os.Stat(filepath.Join(root, "meta.db")); errors.Is(err, fs.ErrNotExist) {
		d.ok("no images yet")
		return
	}
	r, err := imageservice.Check(ctx, imageservice.CheckConfig{Root: root, CodeDir: filepath.Join(d.Options.Root, "code"), Deep: d.Deep})
	if err != nil {
		d.problem("run it as root; if the metadata is damaged, stop the daemon and move "+root+" away: images are then pulled anew", "%v", err)
		return
	}
	for _, p := range r.Problems[:min(len(r.Problems), maxShown)] {
		status := Problem
		if p.Kind == imageservice.ProblemOrphan || p.Kind == imageservice.ProblemLeftover {
			status = Warning // it takes space and hurts nobody
		}
		remedy := p.Remedy
		if remedy == "" {
			remedy = "restart the daemon, which removes or pulls anew what is not sound"
		}
		p.Remedy = ""
		d.add(status, remedy, "%s", p)
	}
	if more := len(r.Problems) - maxShown; more > 0 {
		d.problem("", "and %d more", more)
	}
	how := "names and sizes were looked at; --deep reads all of it"
	if d.Deep {
		how = "all of it was read"
	}
	if r.Clean() {
		d.ok("%s, %s, %s, %d compiled: consistent (%s)", Number(r.Images, "image"), Number(r.Blobs, "blob"), Number(r.Layers, "layer"), r.Codes, how)
	}
}

// registries contacts those that were named, as a pull would.
func (d *Doctor) registries(ctx context.Context) {
	client := registry.NewClient(registry.Options{
		CertsDirs: d.Options.Image.CertsDirs, DockerConfig: d.Options.Image.DockerConfig, UserAgent: "cri-wasmer/" + d.Version,
	})
	defer client.Close()
	for _, domain := range d.Registries {
		answers, err := client.Ping(ctx, domain)
		if err != nil {
			d.problem("correct the registry's hosts.toml in one of "+strings.Join(d.Options.Image.CertsDirs, ", "), "%s: %v", domain, err)
			continue
		}
		for _, a := range answers {
			d.registry(domain, a)
		}
	}
}

func (d *Doctor) registry(domain string, a registry.Answer) {
	what := domain
	if a.Mirror {
		what = fmt.Sprintf("%s by its mirror %s", domain, a.URL)
	}
	const remedy = "look at name, proxy (HTTPS_PROXY), firewall and, for certificates, the registry's hosts.toml"
	switch {
	case a.Err != nil && a.Mirror:
		d.warn(remedy, "%s: %v", what, a.Err)
	case a.Err != nil:
		d.problem(remedy, "%s: %v", what, a.Err)
	case a.Status >= 500:
		d.problem("the registry itself has a problem: ask who runs it", "%s answers %d", what, a.Status)
	default:
		login := ""
		if a.Status == 401 {
			login = ", and may want a login"
		}
		d.ok("%s answers in %s%s", what, a.Took.Round(time.Millisecond), login)
	}
}
