package config

import (
	"fmt"
	"io"
	"strings"
)

// WriteDefault writes a file with every option at its default, commented.
func WriteDefault(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# Configuration of cri-wasmer: %s\n#\n", DefaultFile)
	b.WriteString("# Every value here is the default. Files *.toml in the directory conf.d beside\n" +
		"# this one are read after it, in the order of their names. An environment\n" +
		"# variable wins over all files, a flag over that: the option conf_dir of [cni]\n" +
		"# is CRI_WASMER_CNI_CONF_DIR and --cni-conf-dir.\n")
	o := defaults()
	section := ""
	for _, opt := range table {
		if opt.Section != section {
			section = opt.Section
			fmt.Fprintf(b, "\n[%s]\n", section)
		}
		b.WriteString("\n")
		for _, line := range strings.Split(opt.Help, "\n") {
			fmt.Fprintf(b, "# %s\n", line)
		}
		fmt.Fprintf(b, "%s = %s\n", opt.Key, opt.value(&o).toml())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Write writes the effective values, each with its source, as a file that sets
// them all.
func (c *Config) Write(w io.Writer) error {
	b := &strings.Builder{}
	section := ""
	for _, opt := range table {
		if opt.Section != section {
			section = opt.Section
			fmt.Fprintf(b, "\n[%s]\n", section)
		}
		line := fmt.Sprintf("%s = %s", opt.Key, opt.value(&c.Options).toml())
		fmt.Fprintf(b, "%-48s # %s\n", line, c.Sources[opt.Name()])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the table of all options that docs/configuration.md has.
func WriteMarkdown(w io.Writer) error {
	b := &strings.Builder{}
	b.WriteString("| option | default | |\n|---|---|---|\n")
	o := defaults()
	for _, opt := range table {
		def := "`" + opt.value(&o).toml() + "`"
		help := strings.ReplaceAll(opt.Help, "\n", " ")
		help = strings.NewReplacer("|", "\\|", "*", "\\*", "HOST/hosts.toml", "`HOST/hosts.toml`").Replace(help)
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", opt.Name(), def, help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
