package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
)

// all lists the commands with those below them, without what cobra adds.
func all(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			list = append(list, all(sub)...)
		}
	}
	return list
}

func TestHelpIsOfOneForm(t *testing.T) {
	for _, cmd := range all(newRoot()) {
		name := cmd.CommandPath()
		if first := rune(cmd.Short[0]); !unicode.IsUpper(first) || strings.HasSuffix(cmd.Short, ".") || len(cmd.Short) > 80 {
			t.Errorf("%s: short help %q, want a sentence of one line without its full stop", name, cmd.Short)
		}
		for line := range strings.Lines(cmd.Long) {
			if len(strings.TrimRight(line, "\n")) > 100 {
				t.Errorf("%s: line of %d bytes in its help: %s", name, len(line), line)
			}
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "cri-wasmer") {
				t.Errorf("%s: example %q is not indented, or of another program", name, line)
			}
		}
		if cmd.Runnable() && cmd.Args == nil {
			t.Errorf("%s does not say which arguments it takes", name)
		}
	}
}

func TestReadmeNamesTheCommands(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range newRoot().Commands() {
		if slices.Contains([]string{"help", "completion", "version", "config"}, cmd.Name()) {
			continue
		}
		if !strings.Contains(string(readme), "cri-wasmer "+cmd.Name()) {
			t.Errorf("README.md does not name cri-wasmer %s", cmd.Name())
		}
	}
}

// The files of deploy are what kubelet-flags prints, below their comments.
func TestDeployedFilesAreWhatIsPrinted(t *testing.T) {
	emptyConfig(t)
	for file, form := range map[string]string{"runtimeclass.yaml": "runtimeclass", "kubelet/10-cri-wasmer.conf": "yaml"} {
		data, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		out, err := execute("kubelet-flags", "--profile", "dedicated", "-o", form)
		if err != nil || !strings.HasSuffix(string(data), out) {
			t.Errorf("deploy/%s is\n%s\nwant at its end\n%s", file, data, out)
		}
	}
	data, err := os.ReadFile("../../deploy/kubelet/20-cri-wasmer.service.conf")
	if err != nil {
		t.Fatal(err)
	}
	out, err := execute("kubelet-flags", "--profile", "dedicated")
	if want := `KUBELET_EXTRA_ARGS=` + strings.Join(strings.Fields(out), " ") + `"`; err != nil || !strings.Contains(string(data), want) {
		t.Errorf("deploy/kubelet/20-cri-wasmer.service.conf lacks %s", want)
	}
}
