package network

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatusTellsReasonAndRemedy(t *testing.T) {
	tests := []struct {
		name       string
		files      map[string]string
		plugins    map[string]os.FileMode
		wantReason string
		wantDetail string
		wantName   string
	}{
		{"no configuration", nil, nil,
			ReasonNoConfig, "install a CNI plugin, or allow the bundled network", ""},
		{"files that are no configuration", map[string]string{"README": "hello", "x.conf.bak": "{"}, nil,
			ReasonNoConfig, "no CNI configuration in", ""},
		{"a list", map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"p"}]}`}, map[string]os.FileMode{"p": 0o755},
			"", "10-a.conflist", "a"},
		{"one plugin, the older form", map[string]string{"10-a.conf": `{"name":"a","type":"p"}`}, map[string]os.FileMode{"p": 0o755},
			"", "10-a.conf", "a"},
		{"the first of several", map[string]string{"20-b.conflist": `{"name":"b","plugins":[{"type":"p"}]}`, "10-a.conf": `{"name":"a","type":"p"}`},
			map[string]os.FileMode{"p": 0o755}, "", "10-a.conf", "a"},
		{"the first that is valid", map[string]string{"20-b.conflist": `{"name":"b","plugins":[{"type":"p"}]}`, "10-a.conf": `{`},
			map[string]os.FileMode{"p": 0o755}, "", "20-b.conflist", "b"},
		{"not JSON", map[string]string{"10-a.conflist": `{"name":`}, nil,
			ReasonInvalidConfig, "10-a.conflist: not a CNI configuration", ""},
		{"no name", map[string]string{"10-a.conflist": `{"plugins":[{"type":"p"}]}`}, nil,
			ReasonInvalidConfig, "no name", ""},
		{"an older form without a name", map[string]string{"10-a.conf": `{"type":"p"}`}, nil,
			ReasonInvalidConfig, "network name", ""},
		{"no plugins", map[string]string{"10-a.conflist": `{"name":"a","plugins":[]}`}, nil,
			ReasonInvalidConfig, "no plugins", ""},
		{"neither plugin nor list", map[string]string{"10-a.conf": `{"name":"a"}`}, nil,
			ReasonInvalidConfig, "no plugin", ""},
		{"a plugin without type", map[string]string{"10-a.conflist": `{"name":"a","plugins":[{}]}`}, nil,
			ReasonInvalidConfig, "missing 'type'", ""},
		{"a version that is not known", map[string]string{"10-a.conflist": `{"cniVersion":"9.9.9","name":"a","plugins":[{"type":"p"}]}`}, map[string]os.FileMode{"p": 0o755},
			ReasonInvalidConfig, `cniVersion "9.9.9" is not known`, ""},
		{"a version that is none", map[string]string{"10-a.conf": `{"cniVersion":"new","name":"a","type":"p"}`}, map[string]os.FileMode{"p": 0o755},
			ReasonInvalidConfig, `cniVersion "new" is not known`, ""},
		{"the best of several versions", map[string]string{"10-a.conflist": `{"cniVersion":"0.4.0","cniVersions":["1.0.0","9.9.9"],"name":"a","plugins":[{"type":"p"}]}`}, map[string]os.FileMode{"p": 0o755},
			"", "10-a.conflist", "a"},
		{"a missing plugin", map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"p"}]}`}, nil,
			ReasonPluginMissing, "CNI plugin p is not in", "a"},
		{"a missing plugin for addresses", map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"p","ipam":{"type":"q"}}]}`},
			map[string]os.FileMode{"p": 0o755}, ReasonPluginMissing, "CNI plugin q is not in", "a"},
		{"a plugin that cannot be executed", map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"p"}]}`},
			map[string]os.FileMode{"p": 0o644}, ReasonPluginMissing, "chmod +x", "a"},
		{"a plugin with a path for a name", map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"../p"}]}`}, nil,
			ReasonPluginMissing, "no name of a CNI plugin", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bin := t.TempDir()
			conf := testConfig(t, bin)
			conf.NoBundled = true
			for name, content := range tt.files {
				writeConf(t, conf, name, content)
			}
			for name, mode := range tt.plugins {
				if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), mode); err != nil {
					t.Fatal(err)
				}
			}
			st := newCNI(t, conf).Status(t.Context())
			if st.Ready != (tt.wantReason == "") || st.Reason != tt.wantReason || st.Name != tt.wantName || !strings.Contains(st.Detail, tt.wantDetail) {
				t.Errorf("Status = %+v\nwant reason %q, name %q and detail %q", st, tt.wantReason, tt.wantName, tt.wantDetail)
			}
		})
	}
}

func TestAWrongConfigurationDoesNotFallBackToTheBundledNetwork(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	writeConf(t, conf, "10-a.conflist", `{`)
	if st := newCNI(t, conf).Status(t.Context()); st.Ready || st.Reason != ReasonInvalidConfig {
		t.Errorf("Status = %+v, want %s", st, ReasonInvalidConfig)
	}
}

func TestConfigurationIsReadAgainWhenItChanges(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	c := newCNI(t, conf)
	wantName := func(when, want string) {
		t.Helper()
		if st := c.Status(t.Context()); st.Name != want {
			t.Errorf("%s: network %q (%s), want %q", when, st.Name, st.Detail, want)
		}
	}
	wantName("at first", "cri-wasmer0")
	writeConf(t, conf, "20-b.conflist", `{"name":"b","plugins":[{"type":"bridge"}]}`)
	wantName("after a file came", "b")
	writeConf(t, conf, "20-b.conflist", `{"name":"bee","plugins":[{"type":"bridge"}]}`)
	wantName("after it changed", "bee")
	writeConf(t, conf, "10-a.conflist", `{"name":"a"}`)
	wantName("after an earlier one without plugins came", "bee")
	if err := os.MkdirAll(filepath.Join(conf.ConfDir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeConf(t, conf, "a/1.conf", `{"type":"bridge"}`)
	wantName("after a plugin came for it", "a")
	for _, name := range []string{"10-a.conflist", "20-b.conflist"} {
		if err := os.Remove(filepath.Join(conf.ConfDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	wantName("after all went", "cri-wasmer0")
}

func TestConfigurationIsReadAgainBehindALink(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	real := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.MkdirAll(filepath.Dir(conf.ConfDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, conf.ConfDir); err != nil {
		t.Fatal(err)
	}
	c := newCNI(t, conf)
	for _, name := range []string{"one", "another"} { // in the same file
		writeConf(t, conf, "10-net.conflist", `{"name":"`+name+`","plugins":[{"type":"bridge"}]}`)
		if st := c.Status(t.Context()); st.Name != name {
			t.Errorf("network %q (%s), want %q", st.Name, st.Detail, name)
		}
	}
}

// TestConfigurationIsReadAgainWhenAFileIsReplaced: by one of the same size and time,
// as images and copies that keep times bring them.
func TestConfigurationIsReadAgainWhenAFileIsReplaced(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	c := newCNI(t, conf)
	file := filepath.Join(conf.ConfDir, "10-net.conflist")
	for _, name := range []string{"one", "two"} {
		writeConf(t, conf, "new", `{"name":"`+name+`","plugins":[{"type":"bridge"}]}`)
		if err := os.Chtimes(filepath.Join(conf.ConfDir, "new"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(conf.ConfDir, "new"), file); err != nil {
			t.Fatal(err)
		}
		if st := c.Status(t.Context()); st.Name != name {
			t.Errorf("network %q (%s), want %q", st.Name, st.Detail, name)
		}
	}
}

func TestStatusAsksThePlugins(t *testing.T) {
	down := filepath.Join(t.TempDir(), "down")
	c, _, calls := scriptNode(t, "1.1.0", `STATUS) if [ -e `+down+` ]; then echo '{"cniVersion":"1.1.0","code":50,"msg":"agent is starting"}'; exit 1; fi;;`)
	if err := os.WriteFile(down, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st := c.Status(t.Context()); st.Ready || st.Reason != ReasonPluginStatus || !strings.Contains(st.Detail, "agent is starting") {
		t.Errorf("Status = %+v, want not ready, as the plugin says", st)
	}
	if err := os.Remove(down); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if st := c.Status(t.Context()); !st.Ready {
			t.Errorf("Status = %+v, want ready at once", st)
		}
	}
	if got := len(calls()); got != 2 {
		t.Errorf("calls = %q, want two: a good answer is believed for a while", calls())
	}
	c.status.until = time.Now()
	c.Status(t.Context())
	if got := len(calls()); got != 3 {
		t.Errorf("calls = %q, want three: a good answer is not believed for ever", calls())
	}
}

func TestAnOlderNetworkIsNotAskedForItsStatus(t *testing.T) {
	c, _, calls := scriptNode(t, "1.0.0", `STATUS) exit 1;;`)
	if st := c.Status(t.Context()); !st.Ready {
		t.Errorf("Status = %+v, want ready", st)
	}
	if got := calls(); got[0] != "" {
		t.Errorf("calls = %q, want none", got)
	}
}
