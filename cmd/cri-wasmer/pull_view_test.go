package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

func blob(c byte, done, size int64, state imageservice.ContentState) imageservice.ContentProgress {
	return imageservice.ContentProgress{Digest: "sha256:" + strings.Repeat(string(c), 64), Size: size, Done: done, State: state}
}

func downloading(content ...imageservice.ContentProgress) imageservice.PullProgress {
	return imageservice.PullProgress{Ref: "r", Phase: imageservice.PullDownloading, Content: content}
}

func TestBarsShowHowFarEachBlobIs(t *testing.T) {
	v := &pullView{ref: "r", rows: 24, columns: 80}
	now := time.Unix(1000, 0)
	p := downloading(blob('a', 2000, 2000, imageservice.ContentDone), blob('b', 500_000, 1_000_000, imageservice.ContentDownloading), blob('c', 0, 7, imageservice.ContentWaiting))
	want := "r: downloading, 502.0 kB of 1.0 MB\n" +
		"  aaaaaaaaaaaaa  done     2.0 kB\n" +
		"  bbbbbbbbbbbbb  [===============>              ] 500.0 kB of 1.0 MB\n" +
		"  ccccccccccccc  waiting  7 B"
	if got := strings.Join(v.block(p, now), "\n"); got != want {
		t.Errorf("block:\n%s\nwant:\n%s", got, want)
	}
	p.Content[1].Done = 1_000_000
	if got := v.block(p, now.Add(2*time.Second))[0]; got != "r: downloading, 1.0 MB of 1.0 MB, 250.0 kB/s" {
		t.Errorf("heading with a rate: %s", got)
	}
	p.Phase, p.Code = imageservice.PullCompiling, []codecache.Tier{{Compiler: "cranelift", State: codecache.TierCompiling, Since: now}}
	if got := v.block(p, now.Add(3*time.Second))[0]; got != "r: compiling with cranelift for 3s" {
		t.Errorf("heading while compiling: %s", got)
	}
}

func TestBarsStayWithinTheTerminal(t *testing.T) {
	var out bytes.Buffer
	v := &pullView{w: &out, ref: strings.Repeat("long", 30), rows: 8, columns: 40}
	var content []imageservice.ContentProgress
	for c := byte('a'); c <= 'z'; c++ {
		state := imageservice.ContentDone
		if c == 'y' {
			state = imageservice.ContentDownloading
		}
		content = append(content, blob(c, 1, 2, state))
	}
	v.show(downloading(content...), time.Now())
	first := out.String()
	if lines := strings.Count(first, "\n"); lines >= v.rows || !strings.Contains(first, "yyyy") || !strings.Contains(first, "and 22 more") {
		t.Errorf("%d lines for %d rows, what is under way must be among them:\n%s", lines, v.rows, first)
	}
	for _, l := range strings.Split(first, "\n") {
		if len(strings.TrimPrefix(l, "\r\x1b[J")) >= v.columns {
			t.Errorf("line is too long: %q", l)
		}
	}
	out.Reset()
	v.end()
	if got := out.String(); got != "\x1b[6A\r\x1b[J" {
		t.Errorf("end writes %q, want the block of 6 lines taken away", got)
	}
}

func TestLinesTellEachThingOnce(t *testing.T) {
	var out bytes.Buffer
	v := newPullView(&out, "r\x1b[2J", false)
	p := downloading(blob('a', 1, 5, imageservice.ContentDownloading))
	v.show(p, time.Now())
	p.Content[0].Done = 3
	v.show(p, time.Now())
	p.Content[0].State = imageservice.ContentDone
	p.Code = []codecache.Tier{{Compiler: "singlepass", State: codecache.TierCompiling}}
	v.show(p, time.Now())
	v.end()
	want := "r?[2J: downloading aaaaaaaaaaaaa, 5 B\nr?[2J: aaaaaaaaaaaaa is here\nr?[2J: compiling with singlepass\n"
	if out.String() != want {
		t.Errorf("lines:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestSizesAndTimesReadWell(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_950: "1.0 MB", 1_500_000: "1.5 MB", 1 << 40: "1.1 TB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %s, want %s", n, got, want)
		}
	}
	now := time.Unix(1_000_000, 0)
	for d, want := range map[time.Duration]string{0: "just now", -time.Hour: "just now", time.Second: "1 second ago", 150 * time.Second: "2 minutes ago", 49 * time.Hour: "2 days ago"} {
		if got := agoText(now.Add(-d), now); got != want {
			t.Errorf("agoText(%s) = %s, want %s", d, got, want)
		}
	}
}
