package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// MaxManifest bounds manifests, indexes and configurations.
const MaxManifest = 4 << 20

// Media types of manifests that are asked for.
const (
	TypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	TypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Manifest is a manifest or index as the registry sent it.
type Manifest struct {
	MediaType string // of the answer, without parameters
	Digest    string // sha256 of Data
	Data      []byte
	Host      string // that gave it
}

// Manifest fetches a manifest by tag or digest. Errors: ErrNotFound,
// ErrUnauthorized, ErrUnavailable, ErrDigestMismatch, ErrLimit, or that of the
// context.
func (s *Session) Manifest(ctx context.Context, target string) (*Manifest, error) {
	want := CapResolve
	if strings.HasPrefix(target, "sha256:") {
		want = CapPull
	}
	header := http.Header{"Accept": {strings.Join([]string{TypeOCIIndex, TypeDockerList, TypeOCIManifest, TypeDockerManifest}, ", "), "*/*;q=0.1"}}
	var last error
	for range len(s.conns) {
		m, cn, err := s.manifestOnce(ctx, want, target, header)
		if !errors.Is(err, imgerr.ErrDigestMismatch) || cn == nil {
			if last != nil && err != nil && isAbsent(err) {
				return nil, last
			}
			return m, err
		}
		last = err
		s.blame(target, cn)
	}
	return nil, last
}

// Referrers gives the index of what refers to a digest: by the referrers API,
// or where the registry lacks that, under the tag that stands in for it. It
// gives nil when nothing does. Errors are those of Manifest.
func (s *Session) Referrers(ctx context.Context, digest string) (*Manifest, error) {
	header := http.Header{"Accept": {TypeOCIIndex}}
	resp, cn, err := s.do(ctx, CapReferrers, digest, "referrers/"+digest, header)
	if err == nil {
		defer resp.Body.Close()
		return s.readManifest(ctx, cn, resp, "")
	}
	if !errors.Is(err, imgerr.ErrNotFound) && !isUnsupported(err) {
		return nil, fmt.Errorf("referrers of %s: %w", digest, err)
	}
	m, err := s.Manifest(ctx, strings.Replace(digest, ":", "-", 1))
	if errors.Is(err, imgerr.ErrNotFound) {
		return nil, nil
	}
	return m, err
}

// isUnsupported says whether a registry answered that it does not know the
// request.
func isUnsupported(err error) bool {
	var e *imgerr.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return true
	}
	return false
}

// isAbsent says whether err only tells that no host has it.
func isAbsent(err error) bool {
	return errors.Is(err, imgerr.ErrUnavailable) || errors.Is(err, imgerr.ErrNotFound)
}

func (s *Session) manifestOnce(ctx context.Context, want Capability, target string, header http.Header) (*Manifest, *conn, error) {
	resp, cn, err := s.do(ctx, want, target, "manifests/"+target, header)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	expect := resp.Header.Get("Docker-Content-Digest")
	if want == CapPull {
		expect = target
	}
	m, err := s.readManifest(ctx, cn, resp, expect)
	if err != nil && ctx.Err() != nil {
		return nil, nil, err
	}
	return m, cn, err
}

// readManifest reads an answer, whose digest must be the expected one if that
// is known.
func (s *Session) readManifest(ctx context.Context, cn *conn, resp *http.Response, expect string) (*Manifest, error) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, s.classify(cn, err).err
	}
	if len(data) > MaxManifest {
		return nil, &imgerr.Error{Kind: imgerr.ErrLimit, Host: cn.host.URL(), Text: fmt.Sprintf("manifest is larger than %d bytes", MaxManifest)}
	}
	sum := sha256.Sum256(data)
	m := &Manifest{Digest: "sha256:" + hex.EncodeToString(sum[:]), Data: data, Host: cn.host.Addr}
	m.MediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
	m.MediaType = strings.TrimSpace(m.MediaType)
	if strings.HasPrefix(expect, "sha256:") && expect != m.Digest {
		return nil, &imgerr.Error{
			Kind: imgerr.ErrDigestMismatch, Host: cn.host.URL(),
			Text: fmt.Sprintf("manifest has digest %s, not %s", m.Digest, expect), Remedy: "the registry or a proxy before it is damaged or forged",
		}
	}
	return m, nil
}

func (s *Session) isBad(digest string, cn *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad[digest][cn]
}

// blame keeps the host from being asked for the digest again.
func (s *Session) blame(digest string, cn *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad[digest] == nil {
		s.bad[digest] = map[*conn]bool{}
	}
	s.bad[digest][cn] = true
}

// HasOther says whether a host is left that was not caught with wrong content
// for the digest, so that a new attempt makes sense.
func (s *Session) HasOther(digest string) bool {
	for _, cn := range s.conns {
		if cn.host.Caps&CapPull != 0 && !s.isBad(digest, cn) {
			return true
		}
	}
	return false
}

// Blob opens a blob of known digest and size as a stream, and waits for a
// place under the limit of downloads first. A broken connection is resumed
// where it broke, at another host if need be. The last Read gives io.EOF only
// if size and digest are right, otherwise ErrDigestMismatch; a reader that
// stops before io.EOF has verified nothing. Not safe for concurrent use.
func (s *Session) Blob(ctx context.Context, digest string, size int64) (io.ReadCloser, error) {
	if err := s.client.downloads.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	b := &blob{s: s, ctx: ctx, digest: digest, size: size, sum: sha256.New()}
	if err := b.open(); err != nil {
		s.client.downloads.Release(1)
		return nil, err
	}
	return b, nil
}

const maxResumes = 8 // without a single byte in between

type blob struct {
	s      *Session
	ctx    context.Context
	digest string
	size   int64
	sum    hash.Hash

	off    int64
	idle   int // resumes since the last byte
	cn     *conn
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	stall  *time.Timer
	err    error
	skip   int64 // bytes to drop from a server that ignores Range
	closed bool
}

var errStalled = errors.New("no data for too long")

func (b *blob) open() error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	header := http.Header{}
	if b.off > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.off, b.size-1)) // some know no range without an end
	}
	resp, cn, err := b.s.do(ctx, CapPull, b.digest, "blobs/"+b.digest, header)
	if err != nil {
		cancel(nil)
		return err
	}
	b.cn, b.cancel, b.body, b.skip = cn, cancel, resp.Body, 0
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		return b.mismatch("ends after %d of %d bytes", b.off, b.size)
	case http.StatusPartialContent:
		if start := rangeStart(resp.Header.Get("Content-Range")); start != b.off {
			b.drop()
			return &imgerr.Error{Kind: imgerr.ErrUnavailable, Host: cn.host.URL(), Text: "resumed a download at the wrong place"}
		}
	default:
		b.skip = b.off
	}
	b.stall = time.AfterFunc(b.s.client.opt.StallTimeout, func() { cancel(errStalled) })
	return nil
}

func rangeStart(v string) int64 {
	var start, end int64
	if _, err := fmt.Sscanf(v, "bytes %d-%d", &start, &end); err != nil {
		return -1
	}
	return start
}

func (b *blob) drop() {
	if b.body == nil {
		return
	}
	if b.stall != nil {
		b.stall.Stop()
	}
	b.cancel(nil)
	b.body.Close()
	b.body, b.stall = nil, nil
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for b.err == nil {
		if len(p) == 0 {
			return 0, nil
		}
		n, err := b.read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			b.err = err
		}
	}
	return 0, b.err
}

// read gives bytes, a final error, or neither: then the caller tries again.
func (b *blob) read(p []byte) (int, error) {
	if b.body == nil {
		if err := b.open(); err != nil {
			return 0, err
		}
	}
	if b.skip > 0 {
		p = p[:min(int64(len(p)), b.skip)]
	}
	n, err := b.body.Read(p)
	b.stall.Reset(b.s.client.opt.StallTimeout)
	if n > 0 && b.skip > 0 {
		b.skip -= int64(n)
		return 0, nil
	}
	if n > 0 {
		b.idle = 0
		b.off += int64(n)
		b.sum.Write(p[:n])
		if b.off > b.size {
			return 0, b.mismatch("is longer than the %d bytes that the manifest says", b.size)
		}
		return n, nil
	}
	if err == nil {
		return 0, nil
	}
	b.drop()
	if b.off == b.size && b.skip == 0 {
		return 0, b.finish()
	}
	return 0, b.resume(err)
}

func (b *blob) finish() error {
	if got := "sha256:" + hex.EncodeToString(b.sum.Sum(nil)); got != b.digest {
		return b.mismatch("has digest %s", got)
	}
	return io.EOF
}

func (b *blob) mismatch(format string, args ...any) error {
	b.drop()
	b.s.blame(b.digest, b.cn)
	return &imgerr.Error{
		Kind: imgerr.ErrDigestMismatch, Host: b.cn.host.URL(), Text: "blob " + b.digest + " " + fmt.Sprintf(format, args...),
		Remedy: "the registry or a proxy before it is damaged or forged",
	}
}

// resume decides whether to go on after the stream ended early.
func (b *blob) resume(cause error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	b.idle++
	b.s.client.opt.Logger.Debug("download interrupted", "blob", b.digest, "offset", b.off, "size", b.size, "error", cause)
	if b.idle > maxResumes {
		if errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF) {
			return b.mismatch("ends after %d of %d bytes", b.off, b.size)
		}
		e := b.s.classify(b.cn, cause).err
		e.Text = fmt.Sprintf("download of blob %s broke at byte %d of %d: %s", b.digest, b.off, b.size, e.Text)
		return e
	}
	if err := sleep(b.ctx, b.s.client.opt.Backoff<<min(b.idle-1, 5)); err != nil {
		return context.Cause(b.ctx)
	}
	return nil
}

// Close gives the place under the limit back.
func (b *blob) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.drop()
	if b.err == nil {
		b.err = errors.New("read of a closed blob")
	}
	b.s.client.downloads.Release(1)
	return nil
}
