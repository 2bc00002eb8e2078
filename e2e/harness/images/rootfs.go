package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// Compression of a layer.
type Compression string

// The compressions that OCI knows.
const (
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
	Uncompressed Compression = "none"
)

// Rootfs is an image with a root filesystem, such as a Dockerfile makes.
type Rootfs struct {
	OS, Arch    string // wasi and wasm when empty
	Docker      bool   // Docker's media types instead of OCI's
	Compression Compression

	Layers [][]File

	Entrypoint, Cmd []string
	Env             []string
	User            string
	WorkingDir      string
	StopSignal      string
}

// File is one entry of a layer. Only Name is needed: the default is a regular
// file of mode 0755. Names are taken as they are, however hostile.
type File struct {
	Name     string
	Data     []byte
	Mode     int64
	Type     byte // tar.TypeReg and so on; 0 is a regular file
	Link     string
	UID, GID int
	Major    int64
	Minor    int64
}

// Program is the image of "FROM scratch, COPY module, ENTRYPOINT".
func Program(module []byte) Rootfs {
	return Rootfs{
		Layers:     [][]File{{{Name: "app.wasm", Data: module}}},
		Entrypoint: []string{"/app.wasm"},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
}

// LinuxHost is the platform of most images that hold wasm: that of the machine.
func LinuxHost(r Rootfs) Rootfs {
	r.OS, r.Arch = "linux", runtime.GOARCH
	return r
}

// Artifact makes the image.
func (r Rootfs) Artifact() Artifact {
	var layers []Blob
	diffIDs := []string{}
	for _, files := range r.Layers {
		plain := Tar(files)
		diffIDs = append(diffIDs, Digest(plain))
		layers = append(layers, r.layer(plain))
	}
	a := Artifact{
		MediaType: OCIManifest,
		Config:    Blob{MediaType: OCIConfig, Data: r.config(diffIDs)},
		Layers:    layers,
	}
	if r.Docker {
		a.MediaType, a.Config.MediaType = DockerManifest, DockerConfig
	}
	return a
}

func (r Rootfs) config(diffIDs []string) []byte {
	config := map[string]any{}
	for key, list := range map[string][]string{"Entrypoint": r.Entrypoint, "Cmd": r.Cmd, "Env": r.Env} {
		if list != nil {
			config[key] = list
		}
	}
	for key, text := range map[string]string{"User": r.User, "WorkingDir": r.WorkingDir, "StopSignal": r.StopSignal} {
		if text != "" {
			config[key] = text
		}
	}
	os, arch := r.OS, r.Arch
	if os == "" {
		os, arch = "wasi", "wasm"
	}
	return mustJSON(map[string]any{
		"created":      created,
		"architecture": arch,
		"os":           os,
		"config":       config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
}

func (r Rootfs) layer(plain []byte) Blob {
	switch r.Compression {
	case Uncompressed:
		return Blob{MediaType: OCILayer, Data: plain}
	case Zstd:
		w, err := zstd.NewWriter(nil)
		if err != nil {
			panic(err) // only with options
		}
		return Blob{MediaType: OCILayerZstd, Data: w.EncodeAll(plain, nil)}
	}
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	must(w.Write(plain))
	must(0, w.Close())
	b := Blob{MediaType: OCILayerGzip, Data: buf.Bytes()}
	if r.Docker {
		b.MediaType = DockerLayerGzip
	}
	return b
}

// Tar makes an archive of files, with the names and types as given.
func Tar(files []File) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{
			Name: f.Name, Mode: f.Mode, Typeflag: f.Type, Linkname: f.Link, Size: int64(len(f.Data)),
			Uid: f.UID, Gid: f.GID, Devmajor: f.Major, Devminor: f.Minor, ModTime: created, Format: tar.FormatPAX,
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		must(0, w.WriteHeader(h))
		must(w.Write(f.Data))
	}
	must(0, w.Close())
	return buf.Bytes()
}

// must is for writers into memory, which do not fail.
func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}
