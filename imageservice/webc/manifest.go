package webc

import (
	"path"
	"slices"
	"strings"
)

// Manifest is what a package says of itself, as far as it matters to run it.
// What has another form than it should is as if it were not there.
type Manifest struct {
	Name, Version string
	Entrypoint    string
	Commands      []Command // by name
	Mounts        []Mount   // in the order in which they are made
	Dependencies  []string  // by alias, sorted
}

// Command is a way to start an atom.
type Command struct {
	Name       string
	Runner     string // a URL
	Atom       string // empty: not told
	Dependency string // alias of the package that has the atom; empty: this one
	MainArgs   []string
	Env        []string
	Cwd        string
	bare       bool // has no annotations at all
}

// Mount shows a directory of a volume in the root filesystem.
type Mount struct {
	Volume string
	From   string // alias of the package that has the volume; empty: this one
	Source string // in the volume
	Target string
}

// legacyVolume is mounted at / where the manifest says nothing of mounts.
const legacyVolume = "atom"

func readManifest(v any) Manifest {
	root := table(v)
	pkg := table(root["package"])
	m := Manifest{Entrypoint: str(root["entrypoint"])}
	wapm := table(pkg["wapm"])
	m.Name, m.Version = firstText(wapm["name"], pkg["name"]), firstText(wapm["version"], pkg["version"])
	commands := either(root, "command", "commands")
	for _, name := range keys(commands) {
		m.Commands = append(m.Commands, readCommand(name, table(commands[name])))
	}
	m.Dependencies = keys(table(root["use"]))
	mounts, ok := pkg["fs"].([]any)
	if !ok {
		m.Mounts = []Mount{{Volume: legacyVolume, Source: "/", Target: "/"}}
		return m
	}
	for _, v := range mounts {
		t := table(v)
		m.Mounts = append(m.Mounts, Mount{
			Volume: str(t["volume_name"]), From: str(t["from"]), Source: firstText(t["host_path"], t["original_path"], "/"), Target: str(t["mount_path"]),
		})
	}
	return m
}

func readCommand(name string, t map[string]any) Command {
	notes := table(t["annotations"])
	atom, wasi := table(notes["atom"]), table(notes["wasi"])
	c := Command{
		Name: name, Runner: str(t["runner"]), Atom: firstText(atom["name"], wasi["atom"]), Dependency: str(atom["dependency"]),
		Env: texts(wasi["env"]), Cwd: str(wasi["cwd"]), bare: len(notes) == 0,
	}
	for _, key := range []string{"main-args", "main_args", "mainArgs"} {
		if c.MainArgs == nil {
			c.MainArgs = texts(wasi[key])
		}
	}
	return c
}

func table(v any) map[string]any {
	t, _ := v.(map[string]any)
	return t
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok && !strings.ContainsRune(s, 0) {
			out = append(out, s)
		}
	}
	return out
}

func firstText(list ...any) string {
	for _, v := range list {
		if s := str(v); s != "" {
			return s
		}
	}
	return ""
}

func either(t map[string]any, names ...string) map[string]any {
	for _, n := range names {
		if sub := table(t[n]); len(sub) > 0 {
			return sub
		}
	}
	return nil
}

func keys(t map[string]any) []string {
	list := make([]string, 0, len(t))
	for k := range t {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// Command finds a command by name.
func (m *Manifest) Command(name string) (*Command, bool) {
	i := slices.IndexFunc(m.Commands, func(c Command) bool { return c.Name == name })
	if i < 0 {
		return nil, false
	}
	return &m.Commands[i], true
}

// Main gives the command that is run where none is named: the entrypoint, or
// the only one.
func (m *Manifest) Main() (*Command, bool) {
	if m.Entrypoint == "" && len(m.Commands) == 1 {
		return &m.Commands[0], true
	}
	return m.Command(m.Entrypoint)
}

// AtomOf finds the module of a command: by its annotations, else by its own
// name. Very old packages have commands without annotations, which mean the
// first atom.
func (p *Package) AtomOf(c *Command) (Entry, bool) {
	name := c.Atom
	if name == "" {
		name = c.Name
	}
	for _, n := range []string{name, name[strings.LastIndex(name, ":")+1:]} {
		if i := slices.IndexFunc(p.Atoms, func(e Entry) bool { return e.Path == n && !e.Dir && e.Target == "" }); i >= 0 {
			return p.Atoms[i], true
		}
	}
	if c.bare && len(p.Atoms) > 0 && !p.Atoms[0].Dir {
		return p.Atoms[0], true
	}
	return Entry{}, false
}

// Volume finds a volume by name, with or without a slash before it.
func (p *Package) Volume(name string) (*Volume, bool) {
	for i := range p.Volumes {
		if strings.Trim(p.Volumes[i].Name, "/") == strings.Trim(name, "/") {
			return &p.Volumes[i], true
		}
	}
	return nil, false
}

// clean makes a path of the manifest one below the root.
func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }
