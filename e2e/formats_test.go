package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/wasmmod"
)

// formatRow is a format, or a trap of one, and what becomes of it. Exactly one
// of out, refused and notPulled is given.
type formatRow struct {
	name string
	push pusher

	format   string
	platform string // as the status tells it; empty: not looked at

	out       string   // it runs and writes this line
	refused   []string // it is pulled, and a container is refused with these words
	notPulled []string // the pull is refused with these words
}

// pusher stores an image as repository:v1.
type pusher func(t *testing.T, n *node, repository string)

func one(a images.Artifact) pusher {
	return func(t *testing.T, n *node, repository string) {
		_, err := n.registry.Push(repository, "v1", a)
		must(t, err)
	}
}

func index(mediaType string, children ...images.Child) pusher {
	return func(t *testing.T, n *node, repository string) {
		_, err := n.registry.PushIndex(repository, "v1", images.Index{MediaType: mediaType, Children: children})
		must(t, err)
	}
}

func platform(os, arch string, a images.Artifact) images.Child {
	return images.Child{Artifact: a, Platform: images.Platform{OS: os, Architecture: arch}}
}

// formatRows are the rows of the table in docs/images.md.
func formatRows(t *testing.T) []formatRow {
	hello := append(guest(t, "hello-c"), customSection("formats")...) // no image of another test, since these are removed
	const said = "hello from c"
	program := func(edit func(*images.Rootfs)) images.Artifact {
		r := images.Program(hello)
		edit(&r)
		return r.Artifact()
	}
	of := func(os, arch string) images.Artifact {
		return program(func(r *images.Rootfs) { r.OS, r.Arch = os, arch })
	}
	compat := func(r images.Rootfs) images.Artifact {
		a := r.Artifact()
		a.Annotations = map[string]string{"module.wasm.image/variant": "compat"}
		return a
	}
	proxy, actor, policy := wasmmod.Importing("env", "proxy_log"), wasmmod.Importing("wasmbus", "__host_call"), wasmmod.Importing("wapc", "__host_call")
	native := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00")
	attestation := images.WithAttestation(of("wasi", "wasm"), images.Platform{OS: "wasi", Architecture: "wasm"}).Children
	spin := []string{"Spin application", "component model", "SpinKube"}
	component := []string{"WebAssembly component (WASI 0.2)", "build it for wasip1"}
	rows := []formatRow{
		{name: "oci-gzip", push: one(of("", "")), format: "rootfs", platform: "wasi/wasm", out: said},
		{name: "oci-zstd", push: one(program(func(r *images.Rootfs) { r.Compression = images.Zstd })), format: "rootfs", out: said},
		{name: "oci-uncompressed", push: one(program(func(r *images.Rootfs) { r.Compression = images.Uncompressed })), format: "rootfs", out: said},
		{name: "docker", push: one(program(func(r *images.Rootfs) { r.Docker = true })), format: "rootfs", out: said},
		{name: "layers-with-whiteouts", push: one(program(func(r *images.Rootfs) {
			r.Layers = [][]images.File{
				{{Name: "app.wasm", Data: native}, {Name: "d/", Type: typeDirectory}, {Name: "d/old", Data: []byte("x")}},
				{{Name: ".wh.app.wasm"}, {Name: "d/.wh..wh..opq"}, {Name: "bin/hello.wasm", Data: hello}},
				{{Name: "app.wasm", Type: typeSymlink, Link: "bin/hello.wasm"}},
			}
		})), format: "rootfs", out: said},
		{name: "platform-wasi-wasm32", push: one(of("wasi", "wasm32")), format: "rootfs", platform: "wasi/wasm32", out: said},
		{name: "platform-wasip1-wasm", push: one(of("wasip1", "wasm")), format: "rootfs", platform: "wasip1/wasm", out: said},
		{name: "platform-capitals", push: one(of("WASI", "Wasm")), format: "rootfs", platform: "WASI/Wasm", out: said},
		{name: "platform-linux-wasm", push: one(of("linux", "wasm")), format: "rootfs", platform: "linux/wasm", out: said},
		{name: "platform-linux-amd64", push: one(of("linux", "amd64")), format: "rootfs", platform: "linux/amd64", out: said},
		{name: "only-module", push: one(program(func(r *images.Rootfs) { r.Entrypoint = nil })), format: "rootfs", out: said},
		{name: "index-with-attestation", push: index(images.OCIIndex, attestation...), format: "rootfs", platform: "wasi/wasm", out: said},
		{name: "index-many-platforms", push: index(images.OCIIndex,
			platform("linux", "amd64", images.Program(native).Artifact()), platform("js", "wasm", images.Program(native).Artifact()), platform("Wasip1", "wasm", of("Wasip1", "wasm")),
		), format: "rootfs", platform: "Wasip1/wasm", out: said},
		{name: "index-single-child", push: index(images.OCIIndex, platform("plan9", "riscv64", of("", ""))), format: "rootfs", out: said},
		{name: "index-docker-list", push: index(images.DockerIndex,
			platform("linux", "s390x", images.Program(native).Artifact()), platform("linux", "wasm", program(func(r *images.Rootfs) { r.Docker = true })),
		), format: "rootfs", out: said},
		{name: "index-nothing-fits", push: index(images.OCIIndex, platform("windows", "arm64", of("", "")), platform("js", "wasm", of("", ""))),
			notPulled: []string{"the image is for windows/arm64, js/wasm only", "build it for wasi/wasm"}},
		{name: "entrypoint-function", push: one(program(func(r *images.Rootfs) { r.Entrypoint = []string{"/app.wasm#_start"} })), format: "rootfs", out: said},
		{name: "entrypoint-function-missing", push: one(program(func(r *images.Rootfs) { r.Entrypoint = []string{"/app.wasm#fly"} })), format: "rootfs",
			refused: []string{`/app.wasm exports no function "fly"`, `"_start"`}},
		{name: "cncf", push: one(images.CNCF(hello)), format: "cncf-wasm", platform: "wasip1/wasm", out: said},
		{name: "cncf-component", push: one(images.CNCFComponent(wasmmod.Component())), format: "cncf-wasm", platform: "wasip2/wasm", refused: component},
		{name: "cncf-two-layers", push: one(func() images.Artifact {
			a := images.CNCF(hello)
			a.Layers = append(a.Layers, images.Blob{MediaType: images.WasmLayer, Data: wasmmod.True()})
			return a
		}()), format: "cncf-wasm", refused: []string{"the CNCF artifact format allows one layer only"}},
		{name: "wasm-to-oci", push: one(images.WasmToOCI(hello)), format: "wasm-to-oci", out: said},
		{name: "krustlet", push: one(images.Krustlet(hello)), format: "krustlet", out: said},
		{name: "kubewarden-policy", push: one(images.Krustlet(policy)), format: "krustlet", refused: []string{"waPC guest", "Kubewarden"}},
		{name: "runwasi", push: one(images.Runwasi(hello)), format: "runwasi", platform: "wasip1/wasm", out: said},
		{name: "runwasi-component", push: one(images.Runwasi(wasmmod.Component())), format: "runwasi", refused: component},
		{name: "wasmcloud-actor", push: one(images.Module("application/vnd.wasmcloud.actor.archive.config", actor)), format: "module", refused: []string{"wasmCloud actor", "wasmbus.__host_call", "wasmCloud host"}},
		{name: "wasmcloud-module", push: one(images.Module("application/vnd.wasmcloud.actor.archive.config", hello)), format: "module", out: said},
		{name: "solo-proxy-wasm", push: one(images.Module("application/vnd.module.wasm.config.v1+json", proxy)), format: "module", refused: []string{"proxy-wasm plug-in", "Envoy"}},
		{name: "compat-proxy-wasm", push: one(compat(images.Rootfs{Layers: [][]images.File{{{Name: "plugin.wasm", Data: proxy}, {Name: "runtime-config.json", Data: []byte("{}")}}}})), format: "rootfs",
			refused: []string{"/plugin.wasm", "proxy-wasm plug-in"}},
		{name: "compat-program", push: one(compat(images.Program(hello))), format: "rootfs", out: said},
		{name: "spin", push: one(images.Spin(wasmmod.Component())), format: "spin", platform: "Wasip1/wasm", refused: spin},
		{name: "spin-in-files", push: one(images.Rootfs{Layers: [][]images.File{{{Name: "spin.toml", Data: []byte("spin_manifest_version = 2\n")}, {Name: "app.wasm", Data: wasmmod.Component()}}}, Entrypoint: []string{"/"}}.Artifact()),
			format: "spin", refused: spin},
		{name: "webc-1", push: one(webcPackage(1, hello)), format: "webc", out: said},
		{name: "webc-2", push: one(webcPackage(2, hello)), format: "webc", out: said},
		{name: "webc-3", push: one(webcPackage(3, hello)), format: "webc", out: said},
		{name: "webc-wasix", push: one(webcPackage(3, wasmmod.Importing("wasix_32v1", "proc_fork"))), format: "webc", refused: []string{"/bin/hello", "WASIX program", "newer Wasmer"}},
		{name: "webc-library", push: one(images.Webc{Version: 3, Manifest: map[string]any{}, Atoms: map[string][]byte{"lib": hello}}.Artifact()), format: "webc",
			refused: []string{"Wasmer package without commands"}},
		{name: "webc-damaged", push: one(images.Single(images.EmptyConfig, "application/vnd.wasmer.webc", []byte("\x00webc003 this is none"))), notPulled: []string{"Wasmer package", "build the package again"}},
		{name: "module-under-unknown-type", push: one(images.Single(images.EmptyConfig, "application/octet-stream", hello)), format: "raw-module", out: said},
		{name: "tar-under-unknown-type", push: one(images.Single("application/vnd.who.knows", "application/octet-stream", images.Tar([]images.File{{Name: "app.wasm", Data: hello}}))), format: "rootfs", out: said},
		{name: "unknown", push: one(images.Single("application/vnd.who.knows", "application/octet-stream", []byte("anything"))), notPulled: []string{"no known format", "wkg oci push"}},
		{name: "native", push: one(images.Program(native).Artifact()), format: "rootfs", refused: []string{"native ELF binary (x86-64)", "node with containerd"}},
		{name: "text-format", push: one(images.Program([]byte("(module)")).Artifact()), format: "rootfs", refused: []string{"WebAssembly text (.wat)", "wat2wasm"}},
		{name: "wasix", push: one(images.CNCF(wasmmod.Importing("wasix_32v1", "proc_fork"))), format: "cncf-wasm", refused: []string{"WASIX program", "newer Wasmer"}},
		{name: "helm-chart", push: one(images.Single(images.HelmConfig, images.HelmLayer, []byte("chart"))), notPulled: []string{"Helm chart, not a program"}},
		{name: "cosign-signature", push: one(images.Single(images.OCIConfig, images.CosignLayer, []byte("{}"))), notPulled: []string{"a signature, not a program"}},
		{name: "notation-signature", push: one(func() images.Artifact {
			a := images.Single(images.EmptyConfig, "application/jose+json", []byte("{}"))
			a.ArtifactType = images.NotationArtifact
			return a
		}()), notPulled: []string{"a signature, not a program"}},
		{name: "attestation", push: one(images.Single(images.OCIConfig, images.InTotoLayer, []byte("{}"))), notPulled: []string{"an attestation, not a program"}},
		{name: "sbom", push: one(images.Single(images.EmptyConfig, "application/vnd.cyclonedx+json", []byte("{}"))), notPulled: []string{"software bill of materials, not a program"}},
	}
	return rows
}

// webcPackage is a package with a command, and a volume mounted at /srv, which is
// also where it runs.
func webcPackage(version int, module []byte) images.Artifact {
	return images.Webc{
		Version: version,
		Manifest: map[string]any{
			"entrypoint": "hello",
			"package":    map[string]any{"fs": []any{map[string]any{"volume_name": "assets", "mount_path": "/srv"}}},
			"command": map[string]any{
				"hello": images.WebcCommand("main", map[string]any{"main-args": []any{"from", "main-args"}, "env": []any{"PACKAGE=yes"}, "cwd": "/srv"}),
				"again": images.WebcCommand("main", nil),
			},
		},
		Atoms:   map[string][]byte{"main": module},
		Volumes: map[string]map[string][]byte{"assets": {"data/text": []byte("of the package\n")}},
	}.Artifact()
}

func TestImageFormats(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	for _, row := range formatRows(t) {
		t.Run(row.name, func(t *testing.T) {
			repository := "formats/" + row.name
			row.push(t, n, repository)
			ref := n.ref(repository) + ":v1"
			_, err := n.Client.Pull(t.Context(), ref)
			if row.notPulled != nil {
				wantError(t, "pull", err, append(slices.Clone(row.notPulled), ref)...)
				if i := n.image(t, ref); i != nil {
					t.Errorf("the image is there: %v", i)
				}
				return
			}
			must(t, err)
			defer n.removeImage(t, ref)
			row.wantStatus(t, n, ref)
			if row.refused != nil {
				_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Name: row.name, Image: ref}.Config())
				wantError(t, "create", err, append(slices.Clone(row.refused), ref)...)
				return
			}
			inPod := *p
			inPod.t = t
			c := inPod.run(criclient.ContainerSpec{Image: ref})
			c.wantExit(c.wait(), 0, "Completed")
			if out := c.lines("stdout"); !slices.Contains(out, row.out) {
				t.Errorf("stdout is %q, want %q", out, row.out)
			}
			must(t, n.Client.Remove(t.Context(), c.id))
		})
	}
}

// wantStatus checks what the status says and that every image is listed.
func (row formatRow) wantStatus(t *testing.T, n *node, ref string) {
	t.Helper()
	r, err := n.Client.Images.ImageStatus(t.Context(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}, Verbose: true})
	must(t, err)
	var info struct {
		Image struct {
			Format   string
			Platform struct{ OS, Architecture string }
		}
		FormatText string
		WouldRun   bool
		Why        string
	}
	must(t, json.Unmarshal([]byte(r.Info["info"]), &info))
	if info.Image.Format != row.format || info.FormatText == "" || info.WouldRun != (row.out != "") {
		t.Errorf("status says %+v, want format %s, runs: %v", info, row.format, row.out != "")
	}
	if got := info.Image.Platform.OS + "/" + info.Image.Platform.Architecture; row.platform != "" && got != row.platform {
		t.Errorf("platform is %s, want %s", got, row.platform)
	}
	for _, part := range row.refused {
		if !strings.Contains(info.Why, part) {
			t.Errorf("status gives the reason %q, want %q in it", info.Why, part)
		}
	}
	if list := n.listImages(t, ""); !slices.ContainsFunc(list, func(i *runtime.Image) bool { return i.Id == r.Image.Id }) {
		t.Error("the list of all lacks it")
	}
}

// The table of the documentation has a line for each row, and no other.
func TestImageFormatsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(built.Repository(), "docs", "images.md"))
	must(t, err)
	rows := formatRows(t)
	var documented []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || !strings.HasPrefix(strings.TrimSpace(cells[5]), "`") {
			continue
		}
		documented = append(documented, strings.Trim(strings.TrimSpace(cells[5]), "`"))
		row := slices.IndexFunc(rows, func(r formatRow) bool { return r.name == documented[len(documented)-1] })
		if row < 0 {
			t.Errorf("docs/images.md has a line for %s, which is not tested", documented[len(documented)-1])
			continue
		}
		r := rows[row]
		pulled, kind, runs := "yes", r.format, strings.HasPrefix(strings.TrimSpace(cells[4]), "runs")
		if r.notPulled != nil {
			pulled, kind = "refused", "none"
		}
		if strings.TrimSpace(cells[2]) != pulled || strings.TrimSpace(cells[3]) != kind || runs != (r.out != "") {
			t.Errorf("docs/images.md says of %s: %s, %s, %s", r.name, cells[2], cells[3], cells[4])
		}
	}
	for _, r := range rows {
		if !slices.Contains(documented, r.name) {
			t.Errorf("docs/images.md lacks a line for %s", r.name)
		}
	}
}

func TestSpinApplicationsAreExplained(t *testing.T) {
	n := sharedNode(t)
	ref := n.pull(t, "cli/spin", images.Spin(wasmmod.Component()))
	wantText(t, "inspect", n.mustCLI(t, "inspect", ref), "spin: Spin application", "application shop 1.2.0", "component front: "+images.Digest(wasmmod.Component())+", 1 files",
		"trigger http for component front at /shop/...", "Runs here   no: it is a Spin application")
	n.removeImage(t, ref)
}

// Main arguments, environment, working directory and volumes of a package are
// those of the container; other commands are names in /bin.
func TestWasmerPackagesRunAsTheyWant(t *testing.T) {
	n := sharedNode(t)
	ref := n.pull(t, "webc/tool", webcPackage(3, guest(t, "tool-go")))
	wantText(t, "inspect", n.mustCLI(t, "inspect", ref), "webc: Wasmer package", "webc version 3", "command again", "command hello", "module main", "volume assets, 2 files and directories",
		`Command     ["/bin/hello" "from" "main-args"]`, "Directory   /srv", "PACKAGE=yes", "Runs here   yes")
	p := n.hostPod(t)
	for name, tc := range map[string]struct {
		command []string
		want    string
	}{
		"volume":  {[]string{"/bin/again", "cat", "/srv/data/text"}, "of the package"},
		"env":     {[]string{"/bin/again", "env"}, "PACKAGE=yes"},
		"workdir": {[]string{"again", "pwd"}, "/srv"},
	} {
		c := p.run(criclient.ContainerSpec{Image: ref, Command: tc.command})
		c.wantExit(c.wait(), 0, "Completed")
		if out := c.lines("stdout"); !slices.Contains(out, tc.want) {
			t.Errorf("%s: stdout is %q, want %q", name, out, tc.want)
		}
	}
	hello := n.pull(t, "webc/hello", webcPackage(1, guest(t, "hello-c")))
	c := p.run(criclient.ContainerSpec{Image: hello, Args: []string{"args of the pod"}})
	c.wantExit(c.wait(), 0, "Completed")
	if out := c.lines("stdout"); !slices.Contains(out, "arg 1 from") || !slices.Contains(out, "arg 2 main-args") || !slices.Contains(out, "arg 3 args of the pod") {
		t.Errorf("stdout is %q, want main-args and then the pod's", out)
	}
}

// A function other than _start is called instead of it, after _initialize where
// the module has one.
func TestEntryFunctionsAreCalled(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	module := wasmmod.Reactor()
	rootfs := images.Program(module)
	rootfs.Entrypoint, rootfs.Cmd = []string{"/app.wasm#run"}, []string{"a"}
	runwasi := images.Runwasi(module)
	runwasi.Config.Data = []byte(`{"architecture":"wasm","os":"wasip1","config":{"Entrypoint":["/x.wasm#run"]},"rootfs":{"type":"layers","diff_ids":[]}}`)
	for name, tc := range map[string]struct {
		image   images.Artifact
		command []string
		want    []string
	}{
		"image":    {rootfs.Artifact(), nil, []string{"initialize", "run"}},
		"artifact": {runwasi, nil, []string{"initialize", "run"}},
		"command":  {rootfs.Artifact(), []string{"/app.wasm#walk"}, []string{"initialize", "walk"}},
		"pod":      {images.CNCF(module), []string{"any#walk"}, []string{"initialize", "walk"}},
	} {
		t.Run(name, func(t *testing.T) {
			ref := n.pull(t, "function/"+name, tc.image)
			inPod := *p
			inPod.t = t
			c := inPod.run(criclient.ContainerSpec{Image: ref, Command: tc.command})
			c.wantExit(c.wait(), 0, "Completed")
			if out := c.lines("stdout"); !slices.Equal(out, tc.want) {
				t.Errorf("stdout is %q, want %q", out, tc.want)
			}
		})
	}
	ref := n.pull(t, "function/none", images.CNCF(module))
	_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: ref, Command: []string{"x#sit"}}.Config())
	wantError(t, "create", err, `exports no function "sit"`, `"run"`)
	_, err = n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: ref}.Config())
	wantError(t, "create", err, "_start")
}
