package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

func imagesCommand() *cobra.Command {
	var form string
	var quiet, digests bool
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List the images on this node",
		Long: `List the images on this node, with their formats and whether their programs are
compiled. The daemon must be running.

The last column says "ready" with the compiler of the best code, what a compiler
does at the moment, or that the image does not run here; "cri-wasmer inspect"
tells why.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(cmd, func(ctx context.Context, c *client) error {
				list, err := c.list(ctx)
				if err != nil {
					return err
				}
				return printAs(cmd.OutOrStdout(), form, orEmpty(list), func(w io.Writer) error {
					if quiet {
						return printIDs(w, list)
					}
					return printImages(w, list, digests, time.Now())
				})
			})
		},
	}
	outputFlag(cmd, &form)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids alone")
	cmd.Flags().BoolVar(&digests, "digests", false, "show digests, too")
	clientFlags(cmd)
	return cmd
}

// orEmpty makes JSON of no elements a list, not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func printIDs(w io.Writer, list []*imageservice.Explanation) error {
	for _, e := range list {
		fmt.Fprintln(w, e.Image.ID)
	}
	return nil
}

func printImages(w io.Writer, list []*imageservice.Explanation, digests bool, now time.Time) error {
	var rows [][]string
	for _, e := range list {
		for _, name := range rowNames(e.Image) {
			row := []string{name[0], name[1]}
			if digests {
				row = append(row, name[2])
			}
			rows = append(rows, append(row, shortID(e.Image.ID), bytesText(e.Image.Size), string(e.Image.Format), agoText(e.Image.PulledAt, now), stateText(e)))
		}
	}
	slices.SortFunc(rows, slices.Compare)
	head := []string{"REPOSITORY", "TAG"}
	if digests {
		head = append(head, "DIGEST")
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{append(head, "IMAGE ID", "SIZE", "FORMAT", "PULLED", "PROGRAM")}, rows...) {
		fmt.Fprintln(t, printableTabs(strings.Join(row, "\t")))
	}
	return t.Flush()
}

func printableTabs(s string) string {
	return strings.ReplaceAll(printable(strings.ReplaceAll(s, "\t", "|")), "|", "\t")
}

const nothing = "<none>"

// rowNames gives repository, tag and digest for each line of the table: one for
// each tag, or one for an image that has none.
func rowNames(i *imageservice.Image) [][3]string {
	digestOf := map[string]string{}
	for _, d := range i.RepoDigests {
		repository, digest, _ := strings.Cut(d, "@")
		digestOf[repository] = digest
	}
	var names [][3]string
	for _, t := range i.RepoTags {
		at := strings.LastIndex(t, ":")
		names = append(names, [3]string{t[:at], t[at+1:], orNothing(digestOf[t[:at]])})
	}
	if len(names) > 0 {
		return names
	}
	for repository, digest := range digestOf {
		names = append(names, [3]string{repository, nothing, digest})
	}
	if len(names) == 0 {
		names = append(names, [3]string{nothing, nothing, nothing})
	}
	return names
}

func orNothing(s string) string {
	if s == "" {
		return nothing
	}
	return s
}

// stateText says in a few words what became of the program.
func stateText(e *imageservice.Explanation) string {
	var busy []string
	ready := ""
	for _, t := range e.Code {
		switch t.State {
		case codecache.TierReady:
			if ready == "" {
				ready = "ready (" + t.Compiler + ")"
			}
		case codecache.TierCompiling:
			busy = append(busy, "compiling ("+t.Compiler+")")
		case codecache.TierQueued:
			busy = append(busy, "queued")
		}
	}
	state := map[imageservice.ProgramState]string{
		imageservice.ProgramReady: "not compiled", imageservice.ProgramRefused: "does not run here", imageservice.ProgramFailed: "compiling failed",
		imageservice.ProgramNone: "names no program", imageservice.ProgramNotCompiled: "not compiled",
	}[e.Image.Program.State]
	switch {
	case ready != "" && e.WouldRun:
		return strings.Join(append([]string{ready}, busy...), ", ")
	case len(busy) > 0:
		return strings.Join(busy, ", ")
	}
	return state
}
