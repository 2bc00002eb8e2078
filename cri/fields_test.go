package cri

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fieldRow is a line of the tables in docs/fields.md.
type fieldRow struct {
	fate  string
	tests []string
	used  bool
}

// fieldTables reads the tables by their headings.
func fieldTables(t *testing.T) map[string]map[string]*fieldRow {
	t.Helper()
	text, err := os.ReadFile("../docs/fields.md")
	if err != nil {
		t.Fatal(err)
	}
	tables, message := map[string]map[string]*fieldRow{}, ""
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			message = heading
			tables[message] = map[string]*fieldRow{}
		}
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.Contains(line, "---") || strings.TrimSpace(cells[1]) == "field" {
			continue
		}
		r := &fieldRow{fate: strings.TrimSpace(cells[2])}
		for test := range strings.SplitSeq(cells[4], ",") {
			if test = strings.TrimSpace(test); test != "" {
				r.tests = append(r.tests, test)
			}
		}
		tables[message][strings.TrimSpace(cells[1])] = r
	}
	return tables
}

// wantFields checks that each field of a message has a row, or that all the
// fields of its message have.
func wantFields(t *testing.T, rows map[string]*fieldRow, prefix string, m protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		path := prefix + string(f.Name())
		switch row := rows[path]; {
		case row != nil:
			row.used = true
		case f.Message() != nil && !f.IsMap():
			wantFields(t, rows, path+".", f.Message())
		default:
			t.Errorf("%s of %s is not in docs/fields.md", path, m.FullName())
		}
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	tables := fieldTables(t)
	for name, message := range map[string]protoreflect.ProtoMessage{
		"PodSandboxConfig": &runtimev1.PodSandboxConfig{}, "ContainerConfig": &runtimev1.ContainerConfig{},
	} {
		rows := tables[name]
		if len(rows) == 0 {
			t.Fatalf("docs/fields.md has no table of %s", name)
		}
		wantFields(t, rows, "", message.ProtoReflect().Descriptor())
		for path, row := range rows {
			switch {
			case !row.used:
				t.Errorf("%s has no field %s", name, path)
			case row.fate != "honoured" && row.fate != "refused" && row.fate != "ignored":
				t.Errorf("%s of %s is %q", path, name, row.fate)
			case row.fate != "ignored" && len(row.tests) == 0:
				t.Errorf("%s of %s is %s, and no test shows it", path, name, row.fate)
			}
		}
	}
}

func TestTestsOfTheFieldsExist(t *testing.T) {
	exist := map[string]bool{}
	definition := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if path == "../build" { // where systems of virtual machines are
			return fs.SkipDir
		}
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range definition.FindAllSubmatch(source, -1) {
			exist[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, rows := range fieldTables(t) {
		for path, row := range rows {
			for _, test := range row.tests {
				if !exist[test] {
					t.Errorf("%s of %s names %s, which does not exist", path, name, test)
				}
			}
		}
	}
}
