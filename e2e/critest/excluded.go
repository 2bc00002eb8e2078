package main

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

//go:embed excluded.txt
var excludedText string

// exclusion is a spec that is left out.
type exclusion struct {
	name, reason string
}

// pattern matches the spec and nothing else. What ginkgo matches has the name of
// the suite in front.
func (e exclusion) pattern() string { return "(^| )" + regexp.QuoteMeta(e.name) + "$" }

func readExcluded() ([]exclusion, error) { return parseExcluded(excludedText) }

// parseExcluded reads names of specs, each followed by an indented line with
// the reason. Lines with # are comments.
func parseExcluded(text string) ([]exclusion, error) {
	var list []exclusion
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(line, " "):
			list = append(list, exclusion{name: line})
		case len(list) == 0 || list[len(list)-1].reason != "":
			return nil, fmt.Errorf("excluded.txt: %q is the reason of nothing", line)
		default:
			list[len(list)-1].reason = strings.TrimSpace(line)
		}
	}
	for _, e := range list {
		if e.reason == "" {
			return nil, errors.New("excluded.txt: no reason for " + e.name)
		}
	}
	return list, nil
}
