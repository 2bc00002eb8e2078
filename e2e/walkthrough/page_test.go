package walkthrough

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a block of commands of the page, and the output that follows it.
type block struct {
	line     int // of its first command
	note     string
	commands string
	output   []string // nil: not shown
}

// What a comment before a block says of it.
const (
	noteStarted = "started" // goes on while the others run
	noteNotRun  = "not run"
)

var comment = regexp.MustCompile(`^<!-- (.*) -->$`)

// parse finds the blocks that begin with ```sh, and those with ```text that
// follow one at once.
func parse(page string) ([]block, error) {
	var blocks []block
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		kind, ok := strings.CutPrefix(lines[i], "```")
		if !ok {
			continue
		}
		length := slices.Index(lines[i+1:], "```")
		if length < 0 {
			return nil, fmt.Errorf("line %d: the block has no end", i+1)
		}
		content := lines[i+1 : i+1+length]
		switch {
		case kind == "sh":
			b := block{line: i + 2, commands: strings.Join(content, "\n") + "\n"}
			if m := comment.FindStringSubmatch(lines[i-1]); m != nil {
				b.note = m[1]
			}
			blocks = append(blocks, b)
		case kind == "text" && lines[i-1] == "```" && len(blocks) > 0:
			blocks[len(blocks)-1].output = content
		default:
			return nil, fmt.Errorf("line %d: a block of kind %q that shows no output", i+1, kind)
		}
		i += length + 1
	}
	return blocks, nil
}

// matches says whether got is what the page shows. Runs of blanks are equal to
// one; "..." stands for anything, also for whole lines.
func matches(want []string, got string) bool {
	var pattern strings.Builder
	for _, line := range want {
		for i, field := range strings.Fields(line) {
			if i > 0 {
				pattern.WriteString(" ")
			}
			pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(field), regexp.QuoteMeta("..."), "(?s:.*)"))
		}
		pattern.WriteString("\n")
	}
	var lines strings.Builder
	for line := range strings.Lines(got) {
		lines.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(lines.String())
}

func TestParse(t *testing.T) {
	blocks, err := parse("text\n```sh\na\nb\n```\n```text\nout\n```\n<!-- not run -->\n```sh\nc\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 2 || blocks[0].commands != "a\nb\n" || blocks[0].line != 3 ||
		!slices.Equal(blocks[0].output, []string{"out"}) || blocks[1].note != noteNotRun || blocks[1].output != nil {
		t.Errorf("got %+v", blocks)
	}
	for _, page := range []string{"```sh\nopen", "x\n```text\nalone\n```\n", "x\n```go\n```\n"} {
		if blocks, err := parse(page); err == nil {
			t.Errorf("%q: got %+v, want an error", page, blocks)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		want []string
		got  string
		ok   bool
	}{
		{[]string{"a  b", "c"}, "a b\nc\n", true},
		{[]string{"a ... c", "d"}, "a x y c\nd\n", true},
		{[]string{"a", "...", "d"}, "a\nb\nc\nd\n", true},
		{[]string{"a.c"}, "abc\n", false},
		{[]string{"a"}, "a\nb\n", false},
		{[]string{"a", "b"}, "a\n", false},
	} {
		if matches(tc.want, tc.got) != tc.ok {
			t.Errorf("%q shown, %q printed: want %v", tc.want, tc.got, tc.ok)
		}
	}
}
