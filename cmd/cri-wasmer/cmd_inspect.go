package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

func inspectCommand() *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use:   "inspect IMAGE|FILE",
		Short: "Explain an image, or a file: what it is and whether it runs here",
		Long: `Explain an image that was pulled: its format and platform, its program with
imports, exports and memory, what is compiled, and whether it runs here; if not,
why not and what to do.

A name with a slash or the ending .wasm at which there is a file means that file,
which is explained without a daemon.`,
		Example: `  cri-wasmer inspect ghcr.io/example/hello-wasm:v1
  cri-wasmer inspect target/wasm32-wasip1/release/hello.wasm`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isFile(args[0]) {
				return inspectFile(cmd, args[0], form)
			}
			return withClient(cmd, func(ctx context.Context, c *client) error {
				e, pulls, err := c.image(ctx, args[0])
				if err != nil {
					return err
				}
				if e == nil {
					return notHere(args[0], pulls)
				}
				return printAs(cmd.OutOrStdout(), form, e, func(w io.Writer) error {
					explainImage(w, args[0], e, time.Now())
					return nil
				})
			})
		},
	}
	outputFlag(cmd, &form)
	config.AddFlags(cmd.Flags(), "socket", "worker")
	return cmd
}

func notHere(name string, pulls []imageservice.PullProgress) error {
	if len(pulls) > 0 {
		return fmt.Errorf("%s is being pulled (%s)", printable(name), pulls[0].Phase)
	}
	return fmt.Errorf("%s is not on this node: `cri-wasmer pull %s` fetches it", printable(name), printable(name))
}

func isFile(name string) bool {
	if !strings.Contains(name, "/") && !strings.HasSuffix(name, ".wasm") {
		return false
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// fileExplanation is what inspect says about a file.
type fileExplanation struct {
	File     string            `json:"file"`
	Module   *codecache.Report `json:"module"`
	WouldRun bool              `json:"wouldRun"`
	Why      string            `json:"why,omitempty"`
}

func inspectFile(cmd *cobra.Command, name, form string) error {
	conf, err := config.Load(cmd.Flags(), os.Environ())
	if err != nil {
		return err
	}
	worker, err := conf.WorkerPath()
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	e := fileExplanation{File: name}
	e.Module, err = codecache.Examine(cmd.Context(), codecache.Config{Worker: worker}, f)
	if no := (*codecache.Refusal)(nil); errors.As(err, &no) {
		e.Why = name + " " + no.Error()
	} else if err != nil {
		return err
	}
	e.WouldRun = e.Why == ""
	return printAs(cmd.OutOrStdout(), form, e, func(w io.Writer) error {
		s := sheet{w}
		s.row("File", name)
		explainModule(s, e.Module)
		verdict(s, e.WouldRun, e.Why)
		return nil
	})
}

// sheet prints a name and a value in a line. Values are made printable.
type sheet struct{ w io.Writer }

func (s sheet) row(name string, values ...string) {
	for i, v := range values {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(s.w, "%-12s%s\n", name, printable(v))
	}
}

func explainImage(w io.Writer, name string, e *imageservice.Explanation, now time.Time) {
	i := e.Image
	s := sheet{w}
	s.row("Image", firstOf(i.RepoTags, firstOf(i.RepoDigests, name)))
	s.row("ID", i.ID)
	if len(i.RepoTags) > 1 {
		s.row("Also", i.RepoTags[1:]...)
	}
	s.row("Digests", i.RepoDigests...)
	s.row("Format", fmt.Sprintf("%s: %s", i.Format, e.FormatText))
	s.row("Platform", fmt.Sprintf("%s: %s", i.Platform, i.PlatformReason))
	s.row("Size", fmt.Sprintf("%s in %d layers, pulled %s", bytesText(i.Size), len(i.Layers), agoText(i.PulledAt, now)))
	explainConfig(s, i)
	s.row("Contents", e.Contents...)
	if len(e.HeldBy) > 0 {
		s.row("In use by", fmt.Sprintf("%d containers", len(e.HeldBy)))
	}
	if e.Module != nil {
		s.row("Program", fmt.Sprintf("%s, %s", i.Program.Path, bytesText(e.Module.Size)))
		explainModule(s, e.Module)
	}
	explainCode(s, e.Code, now)
	verdict(s, e.WouldRun, e.Why)
}

func firstOf(list []string, other string) string {
	if len(list) > 0 {
		return list[0]
	}
	return other
}

func explainConfig(s sheet, i *imageservice.Image) {
	if argv := append(i.Config.Entrypoint, i.Config.Cmd...); len(argv) > 0 {
		s.row("Command", fmt.Sprintf("%q", argv))
	}
	if i.Function != "" {
		s.row("Function", i.Function)
	}
	for _, kv := range []keyValue{{"Directory", i.Config.WorkingDir}, {"User", i.Config.User}, {"Stop signal", i.Config.StopSignal}} {
		if kv.value != "" {
			s.row(kv.key, kv.value)
		}
	}
	s.row("Environment", i.Config.Env...)
}

func explainModule(s sheet, m *codecache.Report) {
	s.row("Kind", m.What)
	s.row("Digest", m.Module)
	if len(m.Producers) > 0 {
		s.row("Built by", strings.Join(m.Producers, ", "))
	}
	if m.ABI != "" {
		s.row("ABI", m.ABI)
	}
	if m.ImportCount > 0 {
		s.row("Imports", importsText(m)...)
	}
	if m.UnmetCount > 0 {
		s.row("Unmet", wrap(more(m.Unmet, m.UnmetCount), 68)...)
	}
	if m.ExportCount > 0 {
		s.row("Exports", wrap(more(m.Exports, m.ExportCount), 68)...)
	}
	if m.MemoryMin > 0 || m.MemoryMax > 0 {
		s.row("Memory", memoryText(m))
	}
	if len(m.Proposals) > 0 {
		s.row("Uses", strings.Join(m.Proposals, ", "))
	}
	if len(m.Toolchain) > 0 {
		s.row("Toolchain", wrap([]string{"says that it may use", strings.Join(m.Toolchain, ", ")}, 68)...)
	}
	if m.HasStart {
		s.row("Start", "has a start function, which runs before _start")
	}
}

// importsText groups imports by the module that they come from.
func importsText(m *codecache.Report) []string {
	var order []string
	byModule := map[string][]string{}
	for _, i := range m.Imports {
		module, name := i, ""
		if at := strings.LastIndex(i, "."); at >= 0 {
			module, name = i[:at], i[at+1:]
		}
		if byModule[module] == nil {
			order = append(order, module)
		}
		byModule[module] = append(byModule[module], name)
	}
	met := "all met"
	if m.UnmetCount > 0 {
		met = fmt.Sprintf("%d unmet", m.UnmetCount)
	}
	lines := []string{fmt.Sprintf("%d, %s", m.ImportCount, met)}
	if m.ABI == codecache.ComponentModel { // names of interfaces, of no module
		return append(lines, more(m.Imports, m.ImportCount)...)
	}
	for _, module := range order {
		lines = append(lines, wrap(append([]string{module + ":"}, byModule[module]...), 68)...)
	}
	return lines
}

// more ends a list that was cut with how much is left out.
func more(list []string, count int) []string {
	if rest := count - len(list); rest > 0 {
		return append(list[:len(list):len(list)], fmt.Sprintf("and %d more", rest))
	}
	return list
}

// wrap joins words to lines of about the width, all but the first indented.
func wrap(words []string, width int) []string {
	var lines []string
	line := ""
	for _, w := range words {
		if line != "" && len(line)+1+len(w) > width {
			lines, line = append(lines, line), " "
		}
		line = strings.TrimPrefix(line+" "+w, " ")
		if len(lines) > 0 && !strings.HasPrefix(line, "  ") {
			line = "  " + strings.TrimLeft(line, " ")
		}
	}
	return append(lines, line)
}

func memoryText(m *codecache.Report) string {
	const page = 64 << 10
	limit := "no maximum of its own"
	if m.MemoryMax > 0 {
		limit = fmt.Sprintf("at most %d", m.MemoryMax)
	}
	return fmt.Sprintf("%d pages of 64 KiB to begin with (%s), %s", m.MemoryMin, bytesText(int64(min(m.MemoryMin, 1<<40))*page), limit)
}

func explainCode(s sheet, tiers []codecache.Tier, now time.Time) {
	var lines []string
	for _, t := range tiers {
		switch t.State {
		case codecache.TierReady:
			lines = append(lines, fmt.Sprintf("%s: ready, %s, compiled in %s", t.Compiler, bytesText(t.Size), tookText(t.Took)))
		case codecache.TierCompiling:
			lines = append(lines, fmt.Sprintf("%s: compiling for %s", t.Compiler, now.Sub(t.Since).Round(time.Second)))
		case codecache.TierQueued:
			lines = append(lines, strings.TrimPrefix(t.Compiler+": waits for a compiler", ": "))
		case codecache.TierFailed:
			lines = append(lines, fmt.Sprintf("%s: failed: %s", t.Compiler, t.Error))
		}
	}
	s.row("Code", lines...)
}

func verdict(s sheet, runs bool, why string) {
	if runs {
		s.row("Runs here", "yes")
		return
	}
	s.row("Runs here", "no: "+why)
}
