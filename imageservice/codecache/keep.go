package codecache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clean empties tmp and deletes code that this engine cannot use.
func (c *Cache) clean() error {
	tmp, err := os.ReadDir(c.dir("tmp"))
	if err != nil {
		return err
	}
	for _, e := range tmp {
		if err := os.RemoveAll(filepath.Join(c.dir("tmp"), e.Name())); err != nil {
			return err
		}
	}
	for _, class := range []string{classImage, classDemand} {
		entries, err := os.ReadDir(c.dir(class))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if c.usable(e.Name()) {
				continue
			}
			c.log.Info("code of another engine is deleted", "file", e.Name())
			if err := os.RemoveAll(filepath.Join(c.dir(class), e.Name())); err != nil {
				return err
			}
		}
	}
	c.evict("")
	return nil
}

// usable says whether a file name is one of this engine's.
func (c *Cache) usable(name string) bool {
	digest, rest, ok := strings.Cut(name, "-")
	if !ok || len(digest) != 64 {
		return false
	}
	_, compiler, _ := strings.Cut(rest, "-")
	_, known := c.keys[compiler]
	return known && name == c.fileName(digest, compiler)
}

func (c *Cache) classOf(digest string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owned[digest] {
		return classImage
	}
	return classDemand
}

// Own marks a module as one of an image: its code stays until OwnOnly leaves
// it out.
func (c *Cache) Own(digest string) {
	c.mu.Lock()
	had := c.owned[digest]
	c.owned[digest] = true
	c.mu.Unlock()
	if !had {
		c.move(digest, classDemand, classImage)
	}
}

// OwnOnly replaces all marks, and deletes the code of modules of images that
// have none now.
func (c *Cache) OwnOnly(digests map[string]bool) {
	c.mu.Lock()
	clear(c.owned)
	for d, yes := range digests {
		if yes {
			c.owned[d] = true
		}
	}
	c.mu.Unlock()
	entries, err := os.ReadDir(c.dir(classImage))
	if err != nil {
		c.log.Warn("code cache: sweep", "error", err)
		return
	}
	for _, e := range entries {
		hex, _, _ := strings.Cut(e.Name(), "-")
		if c.classOf("sha256:"+hex) == classImage {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir(classImage), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("code cache: sweep", "error", err)
		}
	}
}

// move brings all code of a module into the other class.
func (c *Cache) move(digest, from, to string) {
	for compiler := range c.keys {
		name := c.fileName(digest, compiler)
		err := os.Rename(filepath.Join(c.dir(from), name), filepath.Join(c.dir(to), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("code cache: move", "file", name, "error", err)
		}
	}
}

func (c *Cache) remove(name string) {
	for _, class := range []string{classImage, classDemand} {
		if err := os.Remove(filepath.Join(c.dir(class), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("code cache: remove", "file", name, "error", err)
		}
	}
}

// evict deletes the least recently used code that no image owns until the rest
// is within the limit. The file keep, just made, goes last.
func (c *Cache) evict(keep string) {
	type file struct {
		name string
		used time.Time
		size int64
	}
	entries, err := os.ReadDir(c.dir(classDemand))
	if err != nil {
		c.log.Warn("code cache: evict", "error", err)
		return
	}
	var files []file
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		files = append(files, file{e.Name(), info.ModTime(), info.Size()})
		total += info.Size()
	}
	slices.SortFunc(files, func(a, b file) int {
		if a.name == keep || b.name == keep {
			return map[bool]int{true: 1, false: -1}[a.name == keep]
		}
		return a.used.Compare(b.used)
	})
	for _, f := range files {
		if total <= c.cfg.DemandLimit || f.name == keep {
			return
		}
		if err := os.Remove(filepath.Join(c.dir(classDemand), f.name)); err != nil {
			c.log.Warn("code cache: evict", "error", err)
			continue
		}
		total -= f.size
	}
}

// Usage measures the disk space in use.
func (c *Cache) Usage() (bytes, inodes int64) {
	for _, dir := range []string{c.cfg.Dir, c.dir(classImage), c.dir(classDemand), c.dir("tmp")} {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil {
			bytes += st.Blocks * 512
			inodes++
		}
		if dir == c.cfg.Dir {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil {
				bytes += st.Blocks * 512
				inodes++
			}
		}
	}
	return bytes, inodes
}

// String names the engine for logs.
func (c *Cache) String() string {
	return fmt.Sprintf("%s %s (%s)", c.info.Engine, c.info.Version, strings.Join(c.info.Compilers, ", "))
}
