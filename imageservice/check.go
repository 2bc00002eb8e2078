package imageservice

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

// CheckConfig says what Check looks at. Only Root is needed.
type CheckConfig struct {
	Root    string // of the image store
	CodeDir string // of the code cache; empty: not looked at
	Deep    bool   // read all content, and not only names and sizes
	Repair  bool   // delete what is of no use, if no daemon runs on the store
}

// CheckResult is what Check found.
type CheckResult struct {
	Live     bool // a daemon runs on the store: what it is just making is no problem
	Images   int
	Blobs    int
	Layers   int
	Codes    int
	Bytes    int64 // of blobs and layers
	Problems []Problem
}

// Clean says that nothing is wrong, or that all of it was repaired.
func (r *CheckResult) Clean() bool {
	return !slices.ContainsFunc(r.Problems, func(p Problem) bool { return !p.Repaired })
}

// ProblemKind is a class of inconsistency.
type ProblemKind string

// Kinds of problem.
const (
	ProblemRecord   ProblemKind = "bad record"        // of an image: does not parse
	ProblemMissing  ProblemKind = "missing content"   // an image refers to it
	ProblemDamaged  ProblemKind = "damaged content"   // size, digest or files are not what they must be
	ProblemOrphan   ProblemKind = "orphan"            // no image refers to it
	ProblemLeftover ProblemKind = "leftover"          // of an interrupted work
	ProblemName     ProblemKind = "name of two"       // a name that two images have
	ProblemCode     ProblemKind = "bad compiled code" // truncated or damaged
)

// Problem is one inconsistency.
type Problem struct {
	Kind     ProblemKind
	What     string   // blob sha256:..., layer ..., record ..., code ..., name ...
	Images   []string // that suffer, by a name of theirs
	Text     string
	Remedy   string
	Repaired bool
}

// String gives one line.
func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s", p.Kind, p.What)
	if p.Text != "" {
		s += ": " + p.Text
	}
	if len(p.Images) > 0 {
		s += " (images " + strings.Join(p.Images, ", ") + ")"
	}
	switch {
	case p.Repaired:
		s += "; repaired"
	case p.Remedy != "":
		s += "; " + p.Remedy
	}
	return s
}

// Check looks from outside whether a store and its code cache are consistent:
// every image has its content whole, and nothing else lies there. It works
// beside a running daemon, changes nothing then, and passes over what the
// daemon may be making. Open makes the same check in its cheap form. Errors are
// about reading; problems are in the result.
func Check(ctx context.Context, cfg CheckConfig) (*CheckResult, error) {
	c := &checker{cfg: cfg, store: &store{root: cfg.Root}, result: &CheckResult{}, used: map[string][]string{}}
	if err := c.records(); err != nil {
		return nil, fmt.Errorf("check image store: %w", err)
	}
	defer c.close()
	for _, part := range []func(context.Context) error{c.blobs, c.layers, c.missing, c.leftovers, c.codes} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("check image store: %w", err)
		}
	}
	if err := c.dropRecords(); err != nil {
		return nil, fmt.Errorf("check image store: %w", err)
	}
	return c.result, nil
}

// settling is how old something without a reference must be to be no work of a
// running daemon.
const settling = 30 * time.Minute

// checker is one Check at work.
type checker struct {
	cfg     CheckConfig
	store   *store
	meta    *meta // nil beside a running daemon
	result  *CheckResult
	list    []*record
	modules map[string]bool     // of images, hex
	used    map[string][]string // content key -> names of images
	drop    []string            // ids of records to delete
}

func (c *checker) close() {
	if c.meta != nil {
		c.meta.close()
	}
}

// records reads the metadata: under its lock, or from a copy while a daemon
// has it.
func (c *checker) records() error {
	path := filepath.Join(c.cfg.Root, "meta.db")
	if _, err := os.Stat(path); err != nil {
		return err
	}
	var bad []string
	m, err := openMeta(path)
	switch {
	case err == nil:
		c.meta = m
		if c.list, bad, err = m.load(); err != nil {
			m.close()
			return err
		}
	case errors.Is(err, errMetaBusy):
		c.result.Live = true
		if c.list, bad, err = loadCopy(path); err != nil {
			return err
		}
	default:
		return err
	}
	for _, id := range bad {
		c.problem(Problem{Kind: ProblemRecord, What: "record " + id, Text: "does not parse", Remedy: "pull the image again"}, c.dropper(id))
	}
	c.index()
	return nil
}

// index notes what the records refer to.
func (c *checker) index() {
	c.modules = map[string]bool{}
	names := map[string]string{}
	for _, r := range c.list {
		if !r.Removed {
			c.result.Images++
		}
		name := nameOf(r)
		for _, b := range r.Blobs {
			c.used["blob/"+b.Digest] = append(c.used["blob/"+b.Digest], name)
		}
		for _, k := range r.Layers {
			c.used["layer/"+k] = append(c.used["layer/"+k], name)
		}
		c.modules[strings.TrimPrefix(r.Program.Digest, "sha256:")] = true
		for _, n := range r.Tags {
			if other := names[n]; other != "" && other != r.ID {
				c.problem(Problem{Kind: ProblemName, What: "name " + n, Text: "leads to " + other + " and " + r.ID, Remedy: "pull it again"}, nil)
			}
			names[n] = r.ID
		}
	}
}

func nameOf(r *record) string {
	for _, list := range [][]string{r.Tags, r.Digests} {
		if len(list) > 0 {
			return list[0]
		}
	}
	return r.ID
}

// problem notes a problem, and repairs it if that is asked for and possible.
func (c *checker) problem(p Problem, repair func() error) {
	if repair != nil && c.cfg.Repair && c.meta != nil {
		if err := repair(); err != nil {
			p.Remedy = "repair failed: " + err.Error()
		} else {
			p.Repaired = true
		}
	} else if repair != nil && p.Remedy == "" {
		p.Remedy = "the next start of the daemon removes it"
	}
	c.result.Problems = append(c.result.Problems, p)
}

// dropper repairs by forgetting an image.
func (c *checker) dropper(id string) func() error {
	return func() error { c.drop = append(c.drop, id); return nil }
}

func (c *checker) dropRecords() error {
	if len(c.drop) == 0 {
		return nil
	}
	return c.meta.write(nil, c.drop)
}

// broken notes content that must not be used: the images go with it.
func (c *checker) broken(kind ProblemKind, key, what, path, text string) {
	images := c.used[key]
	c.problem(Problem{
		Kind: kind, What: what, Images: images, Text: text,
		Remedy: "remove these images and pull them again",
	}, func() error {
		for _, r := range c.list {
			if slices.Contains(images, nameOf(r)) {
				c.drop = append(c.drop, r.ID)
			}
		}
		return os.RemoveAll(path)
	})
}

// young says whether a running daemon may be making it.
func (c *checker) young(path string) bool {
	if !c.result.Live {
		return false
	}
	info, err := os.Lstat(path)
	return err != nil || time.Since(info.ModTime()) < settling
}

// orphan notes what nobody refers to.
func (c *checker) orphan(kind ProblemKind, what, path string) {
	if c.young(path) {
		return
	}
	c.problem(Problem{Kind: kind, What: what, Text: "nothing refers to it"}, func() error { return os.RemoveAll(path) })
}

func (c *checker) blobs(ctx context.Context) error {
	sizes := map[string]int64{}
	for _, r := range c.list {
		for _, b := range r.Blobs {
			sizes[b.Digest] = b.Size
		}
	}
	entries, err := os.ReadDir(filepath.Join(c.cfg.Root, "blobs", "sha256"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		digest := "sha256:" + e.Name()
		path, what := c.store.blobPath(digest), "blob "+digest
		if len(c.used["blob/"+digest]) == 0 {
			c.orphan(ProblemOrphan, what, path)
			continue
		}
		c.result.Blobs++
		if err := c.blob(path, digest, sizes[digest]); errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile, or reported as missing
		} else if err != nil {
			c.broken(ProblemDamaged, "blob/"+digest, what, path, err.Error())
		}
	}
	return nil
}

func (c *checker) blob(path, digest string, size int64) error {
	if c.cfg.Deep {
		if err := c.store.verifyBlob(digest, size); err != nil {
			return err
		}
	} else if err := sizedFile(path, size); err != nil {
		return err
	}
	c.result.Bytes += size
	return nil
}

func sizedFile(path string, size int64) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("is no file")
	case info.Size() != size:
		return fmt.Errorf("is %d bytes long, not %d", info.Size(), size)
	}
	return nil
}

// verifyBlob reads a blob and compares it with its name.
func (s *store) verifyBlob(digest string, size int64) error {
	if err := sizedFile(s.blobPath(digest), size); err != nil {
		return err
	}
	f, err := s.openBlob(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("has digest %s", got)
	}
	return nil
}

func (c *checker) layers(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(c.cfg.Root, "layers"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		key := e.Name()
		path, what := c.store.layerPath(key), "layer "+key
		if len(c.used["layer/"+key]) == 0 {
			c.orphan(ProblemOrphan, what, path)
			continue
		}
		c.result.Layers++
		if info, ok := c.store.layer(key); ok {
			c.result.Bytes += info.Bytes
		}
		err := c.store.damaged(key, c.cfg.Deep)
		if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			c.broken(ProblemDamaged, "layer/"+key, what, path, err.Error())
		}
	}
	return nil
}

// missing looks for what images refer to and the disk lacks.
func (c *checker) missing(context.Context) error {
	for key := range c.used {
		kind, name, _ := strings.Cut(key, "/")
		path := c.store.layerPath(name)
		if kind == "blob" {
			path = c.store.blobPath(name)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || c.result.Live && c.goneSince(key) {
			continue
		}
		if c.wasRepaired(kind + " " + name) {
			continue
		}
		c.broken(ProblemMissing, key, kind+" "+name, path, "is not there")
	}
	return nil
}

func (c *checker) wasRepaired(what string) bool {
	return slices.ContainsFunc(c.result.Problems, func(p Problem) bool { return p.What == what && p.Repaired })
}

// goneSince says whether the daemon removed the image since its record was
// read.
func (c *checker) goneSince(key string) bool {
	now, _, err := loadCopy(filepath.Join(c.cfg.Root, "meta.db"))
	if err != nil {
		return false
	}
	again := checker{cfg: c.cfg, list: now, used: map[string][]string{}, result: &CheckResult{}}
	again.index()
	return len(again.used[key]) == 0
}

func (c *checker) leftovers(context.Context) error {
	dirs := []string{c.store.tmp()}
	if c.cfg.CodeDir != "" {
		dirs = append(dirs, filepath.Join(c.cfg.CodeDir, "tmp"))
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			c.orphan(ProblemLeftover, filepath.Join(dir, e.Name()), filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

// codes looks at compiled code.
func (c *checker) codes(ctx context.Context) error {
	if c.cfg.CodeDir == "" {
		return nil
	}
	return codecache.Walk(ctx, c.cfg.CodeDir, c.cfg.Deep, func(f codecache.Found) {
		what := "code " + f.Path
		switch {
		case f.Err != nil:
			c.problem(Problem{Kind: ProblemCode, What: what, Text: f.Err.Error(), Remedy: "it is made anew when it is needed"},
				func() error { return os.Remove(f.Path) })
		case f.OfImage && !c.modules[f.Module]:
			c.orphan(ProblemOrphan, what, f.Path)
		default:
			c.result.Codes++
		}
	})
}
