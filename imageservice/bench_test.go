package imageservice

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkPull pulls 8 layers of 25 MB each, half of it compressible, from a
// registry in the same process. The figure is of unpacked bytes.
func BenchmarkPull(b *testing.B) {
	f := newFixture(b)
	rnd := rand.New(rand.NewPCG(3, 4))
	img := rootfsImage{}
	const layers, files, size = 8, 25, 1 << 20
	for l := range layers {
		var entries []entry
		for i := range files {
			body := make([]byte, size)
			for j := range size / 2 {
				body[j] = byte(rnd.Uint32())
			}
			entries = append(entries, entry{name: fmt.Sprintf("l%d/f%d", l, i), body: string(body)})
		}
		img.layers = append(img.layers, tarOf(b, entries...))
	}
	f.push("big", "v1", img)
	b.SetBytes(layers * files * size)
	for b.Loop() {
		s, err := Open(context.Background(), Config{Root: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/big:v1"}); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
