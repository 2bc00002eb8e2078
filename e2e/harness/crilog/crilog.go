// Package crilog reads container log files in the format of the Container
// Runtime Interface: a time, a stream, a tag and the text, one line each. The
// tag is P when more of the same line follows and F when the line is full. See
// https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md.
package crilog

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// Entry is one line of a log file.
type Entry struct {
	Time   time.Time
	Stream string // stdout or stderr
	Tag    string // P or F, followed by what future tags there may be
	Text   string // may hold any byte but a newline
}

// Partial says whether the text goes on in the next entry of the stream.
func (e Entry) Partial() bool { return e.Tag == "P" || strings.HasPrefix(e.Tag, "P:") }

// ReadFile parses a whole log file. It fails on the first line that is not in
// the format, and on a last line without newline.
func ReadFile(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	entries, err := Parse(data)
	if err != nil {
		return entries, fmt.Errorf("log %s: %w", path, err)
	}
	return entries, nil
}

// Parse is ReadFile for what was read already.
func Parse(data []byte) ([]Entry, error) {
	var entries []Entry
	for number := 1; len(data) > 0; number++ {
		line, rest, complete := bytes.Cut(data, []byte{'\n'})
		if !complete {
			return entries, fmt.Errorf("line %d has no end: %.80q", number, line)
		}
		entry, err := parseLine(string(line))
		if err != nil {
			return entries, fmt.Errorf("line %d: %w", number, err)
		}
		entries = append(entries, entry)
		data = rest
	}
	return entries, nil
}

func parseLine(line string) (Entry, error) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) != 4 {
		return Entry{}, fmt.Errorf("%d fields, want time, stream, tag and text: %.80q", len(fields), line)
	}
	at, err := time.Parse(time.RFC3339Nano, fields[0])
	if err != nil {
		return Entry{}, fmt.Errorf("time: %w", err)
	}
	if fields[1] != "stdout" && fields[1] != "stderr" {
		return Entry{}, fmt.Errorf("stream %q is neither stdout nor stderr", fields[1])
	}
	tag, _, _ := strings.Cut(fields[2], ":")
	if tag != "P" && tag != "F" {
		return Entry{}, fmt.Errorf("tag %q is neither P nor F", fields[2])
	}
	return Entry{Time: at, Stream: fields[1], Tag: fields[2], Text: fields[3]}, nil
}

// Lines joins the partial entries of one stream and gives its lines; an empty
// stream means both, in the order of the file.
func Lines(entries []Entry, stream string) []string {
	var lines []string
	open := map[string]*strings.Builder{}
	for _, e := range entries {
		if stream != "" && e.Stream != stream {
			continue
		}
		b := open[e.Stream]
		if b == nil {
			b = &strings.Builder{}
			open[e.Stream] = b
		}
		b.WriteString(e.Text)
		if !e.Partial() {
			lines = append(lines, b.String())
			b.Reset()
		}
	}
	for _, name := range []string{"stdout", "stderr"} {
		if b := open[name]; b != nil && b.Len() > 0 {
			lines = append(lines, b.String())
		}
	}
	return lines
}
