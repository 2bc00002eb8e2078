package crilog

import (
	"slices"
	"strings"
	"testing"
)

func TestPartialEntriesJoinByStream(t *testing.T) {
	entries, err := Parse([]byte(strings.Join([]string{
		"2016-10-06T00:17:09.669794202Z stdout P one ",
		"2016-10-06T00:17:09.669794203Z stderr F error line",
		"2016-10-06T00:17:09.669794204Z stdout F and a half",
		"2016-10-06T00:17:09.669794205Z stdout F ",
		"2016-10-06T00:17:09.669794206Z stdout P open end",
		"",
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		stream string
		want   []string
	}{
		{"stdout", []string{"one and a half", "", "open end"}},
		{"stderr", []string{"error line"}},
		{"", []string{"error line", "one and a half", "", "open end"}},
	} {
		if got := Lines(entries, tc.stream); !slices.Equal(got, tc.want) {
			t.Errorf("lines of stream %q: got %q, want %q", tc.stream, got, tc.want)
		}
	}
}

func TestBadLinesAreRefused(t *testing.T) {
	for name, line := range map[string]string{
		"no end":       "2016-10-06T00:17:09.669794202Z stdout F text",
		"no text":      "2016-10-06T00:17:09.669794202Z stdout F\n",
		"bad time":     "yesterday stdout F text\n",
		"bad stream":   "2016-10-06T00:17:09.669794202Z stdin F text\n",
		"bad tag":      "2016-10-06T00:17:09.669794202Z stdout X text\n",
		"raw newline ": "2016-10-06T00:17:09.669794202Z stdout F text\nmore\n",
	} {
		if entries, err := Parse([]byte(line)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, entries)
		}
	}
}
