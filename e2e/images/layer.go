package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// made is the time of everything in the images.
var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// file is one entry of a layer.
type file struct {
	name string // without a leading slash; with one at the end it is a directory
	data []byte
	link string // another entry: a hard link to it
	mode int64
}

// modulePath is where the one copy of the module stands.
const modulePath = "bin/busybox"

// toolboxLayer is a root filesystem with every program.
func toolboxLayer(module []byte, programs []string) []file {
	files := []file{}
	for _, dir := range []string{
		"bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "usr", "usr/bin", "usr/local", "usr/local/bin",
		"usr/sbin", "var", "var/lib", "var/run",
	} {
		files = append(files, file{name: dir + "/", mode: 0o755})
	}
	files = append(files,
		file{name: "tmp/", mode: 0o1777},
		file{name: "etc/passwd", mode: 0o644, data: []byte(passwd)},
		file{name: "etc/group", mode: 0o644, data: []byte(group)},
		file{name: modulePath, mode: 0o755, data: module},
		file{name: "bin/toolbox", mode: 0o755, link: modulePath},
		file{name: "usr/bin/env", mode: 0o755, link: modulePath}, // for the first line of scripts
	)
	for _, name := range programs {
		dir := "bin"
		if name == "nginx" || name == "httpd" {
			dir = "usr/sbin"
		}
		files = append(files, file{name: path.Join(dir, name), mode: 0o755, link: modulePath})
	}
	return files
}

// layerOf packs files.
func layerOf(files []file) (v1.Layer, error) {
	var plain bytes.Buffer
	if err := writeTar(&plain, files); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(plain.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	return layer, nil
}

func writeTar(w io.Writer, files []file) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, ModTime: made, Typeflag: tar.TypeReg, Size: int64(len(f.data)), Format: tar.FormatPAX}
		switch {
		case f.name[len(f.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, f.link, 0
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return t.Close()
}
