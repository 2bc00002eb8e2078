package unpack

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// maxWindow bounds the memory that a zstd stream can demand.
const maxWindow = 64 << 20

// stream is the decompressed layer. It counts and hashes what passes.
type stream struct {
	in    countingReader
	src   *bufio.Reader
	plain io.Reader
	close func()
	out   int64
	sum   hash.Hash
	lim   Limits
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// newStream finds the compression by the first bytes: media types lie.
func newStream(r io.Reader, lim Limits) (*stream, error) {
	s := &stream{in: countingReader{r: r}, sum: sha256.New(), lim: lim, close: func() {}}
	s.src = bufio.NewReaderSize(&s.in, 128<<10)
	head, err := s.src.Peek(4)
	if err != nil && len(head) == 0 && err != io.EOF {
		return nil, err
	}
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(s.src)
		if err != nil {
			return nil, malformed("gzip: %w", err)
		}
		s.plain, s.close = z, func() { z.Close() }
	case len(head) == 4 && (string(head) == "\x28\xb5\x2f\xfd" || (head[0]&0xf0 == 0x50 && string(head[1:]) == "\x2a\x4d\x18")):
		z, err := zstd.NewReader(s.src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, malformed("zstd: %w", err)
		}
		s.plain, s.close = z, z.Close
	default:
		s.plain = s.src
	}
	return s, nil
}

// Read implements io.Reader for the tar reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.plain.Read(p)
	s.sum.Write(p[:n])
	s.out += int64(n)
	if s.out > s.lim.MaxBytes {
		return 0, &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("layer is larger than %d bytes when unpacked", s.lim.MaxBytes), Remedy: "raise the limit in the configuration if that is meant"}
	}
	if s.out > s.lim.RatioFloor && s.out/s.lim.MaxRatio > s.in.n {
		return 0, &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("layer expands to more than %d times its size", s.lim.MaxRatio), Remedy: "this is how a decompression bomb looks; raise the limit in the configuration if it is none"}
	}
	return n, err
}

// drain reads both ends of the stream to their end, so that the digests of
// compressed and plain form cover everything.
func (s *stream) drain() error {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, s.src)
	return err
}

func (s *stream) diffID() string { return "sha256:" + hex.EncodeToString(s.sum.Sum(nil)) }

func malformed(format string, args ...any) error {
	return &imgerr.Error{Kind: imgerr.ErrMalformed, Err: fmt.Errorf(format, args...)}
}
