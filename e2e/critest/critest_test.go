package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestExclusionsHaveReasonsAndDocumentation(t *testing.T) {
	list, err := readExcluded()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range list {
		if seen[e.name] {
			t.Errorf("%s is there twice", e.name)
		}
		seen[e.name] = true
		if !strings.Contains(string(docs), e.name) {
			t.Errorf("docs/conformance.md does not name %q", e.name)
		}
		if m, err := regexp.MatchString(e.pattern(), "CRI validation "+e.name); err != nil || !m {
			t.Errorf("the pattern of %s: %t, %v", e.name, m, err)
		}
		if m, _ := regexp.MatchString(e.pattern(), e.name+" and more"); m {
			t.Errorf("the pattern of %s matches longer names", e.name)
		}
	}
	if len(list) == 0 || len(list) > 14 {
		t.Errorf("%d specs are left out", len(list))
	}
}

func TestParseExcludedRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a reason of nothing": "  why\n",
		"no reason":           "spec a\nspec b\n  why\n",
		"two reasons":         "spec\n  why\n  and why\n",
	} {
		if list, err := parseExcluded(text); err == nil {
			t.Errorf("%s: got %v", name, list)
		}
	}
}

func TestReportCountsAndExplains(t *testing.T) {
	const report = `[{"RunTime": 61000000000, "SpecReports": [
		{"LeafNodeType": "BeforeSuite", "State": "passed"},
		{"ContainerHierarchyTexts": ["a"], "LeafNodeType": "It", "LeafNodeText": "works", "State": "passed"},
		{"ContainerHierarchyTexts": ["a"], "LeafNodeType": "It", "LeafNodeText": "breaks", "State": "panicked",
		 "Failure": {"Message": "oh\nno", "Location": {"FileName": "x.go", "LineNumber": 7}}},
		{"ContainerHierarchyTexts": ["a"], "LeafNodeType": "It", "LeafNodeText": "mounts", "State": "skipped"},
		{"ContainerHierarchyTexts": ["a"], "LeafNodeType": "It", "LeafNodeText": "measures", "State": "skipped"},
		{"ContainerHierarchyTexts": ["a"], "LeafNodeType": "It", "LeafNodeText": "asks", "State": "skipped", "Failure": {"Message": "no socket"}}
	]}]`
	path := filepath.Join(t.TempDir(), reportName)
	if err := os.WriteFile(path, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := readReport(path, []exclusion{{name: "a mounts", reason: "no call"}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{
		"  a mounts\n    no call\n", "Skipped by critest, 1: no socket\n  a asks\n", "(1):\n  a measures\n",
		"panicked: a breaks\n    x.go:7\n    oh\n    no\n", "in 1m1s\ncritest: 1 passed, 1 failed, 3 skipped\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}
