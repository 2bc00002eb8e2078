package webc

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Places in the root filesystem.
const (
	modulesDir  = "usr/lib/webc" // ATOM.wasm
	commandsDir = "bin"          // COMMAND, another name of its module
)

// Start is how a package wants to be started.
type Start struct {
	Argv, Env []string // Argv is empty when the package names no command
	Cwd       string
}

const maxTarget = 1024 // bytes of the path of a mount

const wasiRunner = "https://webc.org/runner/wasi" // with what may follow: @unstable_, /command@unstable_

// Start says how the package is started, or in words why it cannot be.
func (p *Package) Start() (s Start, problem string) {
	m := &p.Manifest
	if len(m.Commands) == 0 {
		return s, "it is a Wasmer package without commands: a library, or files for another package"
	}
	for _, mount := range m.Mounts {
		if mount.From != "" {
			return s, dependency("it mounts files", mount.From)
		}
		if _, ok := p.Volume(mount.Volume); !ok && mount.Volume != legacyVolume {
			return s, fmt.Sprintf("it is a Wasmer package that mounts the volume %q, which it lacks: build it again", mount.Volume)
		}
	}
	c, ok := m.Main()
	if !ok {
		return s, "" // one must be named
	}
	if c.Dependency != "" {
		return s, dependency(fmt.Sprintf("its command %q is", c.Name), c.Dependency)
	}
	if !strings.HasPrefix(c.Runner, wasiRunner) {
		return s, fmt.Sprintf("it is a Wasmer package whose command %q wants the runner %s, not that of WASI programs: run it with wasmer", c.Name, c.Runner)
	}
	if _, ok := p.AtomOf(c); !ok {
		return s, fmt.Sprintf("it is a Wasmer package whose command %q names a module that it lacks: build it again", c.Name)
	}
	return Start{Argv: append([]string{CommandPath(c.Name)}, c.MainArgs...), Env: c.Env, Cwd: c.Cwd}, ""
}

func dependency(what, alias string) string {
	return fmt.Sprintf("it is a Wasmer package, and %s of another package, %s, which is not in the image: publish one package that holds everything", what, alias)
}

// CommandPath is where a command is in the root filesystem.
func CommandPath(name string) string { return "/" + path.Join(commandsDir, name) }

// Describe says in words what the package consists of, bounded.
func (p *Package) Describe() []string {
	m := &p.Manifest
	list := []string{strings.TrimRight(fmt.Sprintf("package %s %s, webc version %d", m.Name, m.Version, p.Version), " ")}
	for _, c := range m.Commands {
		text := "command " + c.Name
		if c.Dependency != "" {
			text += " of package " + c.Dependency
		}
		list = append(list, text)
	}
	for _, a := range p.Atoms {
		list = append(list, fmt.Sprintf("module %s, %d bytes", a.Path, a.Size))
	}
	for _, v := range p.Volumes {
		list = append(list, fmt.Sprintf("volume %s, %d files and directories", v.Name, len(v.Entries)))
	}
	for _, d := range m.Dependencies {
		list = append(list, "depends on package "+d)
	}
	const most = 200
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	for i, text := range list {
		if len(text) > 300 {
			list[i] = strings.ToValidUTF8(text[:300], "") + "..."
		}
	}
	return list
}

// rootfs is a tree on its way into an archive.
type rootfs struct {
	entries map[string]Entry  // by path
	links   map[string]string // hard links, to the path of a module
}

// put adds an entry with the directories above it. A later file takes the place
// of an earlier one; a directory and a file do not.
func (t *rootfs) put(e Entry) error {
	old, ok := t.entries[e.Path]
	if ok && old.Dir != e.Dir {
		return malformed("%q is a directory and a file", e.Path)
	}
	for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
		above, ok := t.entries[dir]
		if ok && !above.Dir {
			return malformed("%q is a file and has files below it", dir)
		}
		if !ok {
			t.entries[dir] = Entry{Path: dir, Dir: true}
		}
	}
	t.entries[e.Path] = e
	return nil
}

// layout places mounts, modules and commands in a root filesystem.
func (p *Package) layout() (*rootfs, error) {
	t := &rootfs{entries: map[string]Entry{}, links: map[string]string{}}
	for _, m := range p.Manifest.Mounts {
		v, ok := p.Volume(m.Volume)
		if m.From != "" || !ok {
			continue // Start told
		}
		if len(m.Target) > maxTarget || strings.ContainsRune(m.Target, 0) || !utf8.ValidString(m.Target) {
			return nil, malformed("%q is no place for a mount", m.Target[:min(len(m.Target), 40)])
		}
		if err := t.mount(v, clean(m.Source), clean(m.Target)); err != nil {
			return nil, err
		}
	}
	for _, a := range p.Atoms {
		if a.Dir || a.Target != "" {
			continue
		}
		a.Path = modulePath(a)
		if err := t.put(a); err != nil {
			return nil, err
		}
	}
	for i := range p.Manifest.Commands {
		c := &p.Manifest.Commands[i]
		a, ok := p.AtomOf(c)
		if c.Dependency != "" || !ok || c.Name == "" || c.Name == "." || c.Name == ".." || len(c.Name) > maxName || strings.ContainsAny(c.Name, "/\x00") {
			continue
		}
		name := path.Join(commandsDir, c.Name)
		if err := t.put(Entry{Path: name}); err != nil {
			return nil, err
		}
		t.links[name] = modulePath(a)
	}
	return t, nil
}

func modulePath(a Entry) string { return path.Join(modulesDir, path.Base(a.Path)+".wasm") }

// mount shows the directory source of a volume at target.
func (t *rootfs) mount(v *Volume, source, target string) error {
	if target != "" {
		if err := t.put(Entry{Path: target, Dir: true}); err != nil {
			return err
		}
	}
	for _, e := range v.Entries {
		rest := e.Path
		if source != "" {
			below, ok := strings.CutPrefix(e.Path, source+"/")
			if !ok {
				continue
			}
			rest = below
		}
		e.Path = path.Join(target, rest)
		if err := t.put(e); err != nil {
			return err
		}
	}
	return nil
}

// WriteTar writes the root filesystem of the package as an archive: volumes
// where the manifest mounts them, the modules below /usr/lib/webc, and in /bin a
// name for each command. r is what the package was opened on. Errors are those
// of Open and of writing.
func (p *Package) WriteTar(w io.Writer, r io.ReaderAt) error {
	t, err := p.layout()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	var linked []string
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		if t.links[name] != "" {
			linked = append(linked, name) // after what they link to
			continue
		}
		if err := writeEntry(tw, r, t.entries[name]); err != nil {
			return err
		}
	}
	for _, name := range linked {
		h := &tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: t.links[name], Mode: 0o755, Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, r io.ReaderAt, e Entry) error {
	h := &tar.Header{Name: e.Path, Typeflag: tar.TypeReg, Mode: 0o644, Size: e.Size, Format: tar.FormatPAX}
	switch {
	case e.Dir:
		h.Name, h.Typeflag, h.Mode, h.Size = e.Path+"/", tar.TypeDir, 0o755, 0
	case e.Target != "":
		h.Typeflag, h.Mode, h.Linkname, h.Size = tar.TypeSymlink, 0o777, e.Target, 0
	case path.Dir(e.Path) == modulesDir:
		h.Mode = 0o755
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(tw, io.NewSectionReader(r, e.Offset, e.Size))
	return err
}
