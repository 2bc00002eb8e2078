package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

const (
	triesPerHost  = 6 // of requests that reach the host
	triesToDial   = 3 // when nothing answers
	maxRetryAfter = 20 * time.Second
)

// failure is one answer that was of no use.
type failure struct {
	err   *imgerr.Error
	retry bool
	after time.Duration // the server's wish
	dial  bool          // nothing answered
}

// do asks the hosts that have the capability one after the other, until one
// answers with success. It retries what may be passing: 5xx, 429, broken
// connections. The caller closes the body.
func (s *Session) do(ctx context.Context, want Capability, digest, path string, header http.Header) (*http.Response, *conn, error) {
	var failed []*imgerr.Error
	for _, cn := range s.conns {
		if cn.host.Caps&want == 0 || s.isBad(digest, cn) {
			continue
		}
		resp, err := s.ask(ctx, cn, path, header)
		if err == nil {
			return resp, cn, nil
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		failed = append(failed, err)
		s.client.opt.Logger.Debug("registry host failed", "host", cn.host.Addr, "path", path, "error", err)
	}
	return nil, nil, s.summary(failed)
}

// ask sends a request to one host, with retries.
func (s *Session) ask(ctx context.Context, cn *conn, path string, header http.Header) (*http.Response, *imgerr.Error) {
	wait := s.client.opt.Backoff
	for try := 1; ; try++ {
		resp, f := s.once(ctx, cn, path, header)
		if f == nil {
			return resp, nil
		}
		if !f.retry || try >= triesPerHost || (f.dial && try >= triesToDial) || ctx.Err() != nil {
			return nil, f.err
		}
		d := wait/2 + rand.N(wait)
		if f.after > 0 {
			d = min(f.after, maxRetryAfter)
		}
		if sleep(ctx, d) != nil {
			return nil, f.err
		}
		wait *= 2
	}
}

func (s *Session) once(ctx context.Context, cn *conn, path string, header http.Header) (*http.Response, *failure) {
	client, err := s.dial(ctx, cn)
	if err != nil {
		return nil, s.classify(cn, err)
	}
	u := url.URL{Scheme: "https", Host: cn.host.Addr, Path: "/v2/" + s.repo + "/" + path}
	if cn.host.Scheme == "http" {
		u.Scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, s.classify(cn, err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, s.classify(cn, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && req.Header.Get("Range") != "" {
		return resp, nil // the caller knows what it has
	}
	defer resp.Body.Close()
	return nil, s.classifyStatus(cn, resp.StatusCode, resp.Header, bodyText(resp.Body))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func statusOf(err error) int {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode
	}
	return 0
}

// classify turns a transport error into one of ours, without secrets.
func (s *Session) classify(cn *conn, err error) *failure {
	var te *transport.Error
	if errors.As(err, &te) {
		var texts []string
		for _, d := range te.Errors {
			texts = append(texts, strings.TrimSpace(string(d.Code)+" "+d.Message))
		}
		return s.classifyStatus(cn, te.StatusCode, nil, strings.Join(texts, "; "))
	}
	e := &imgerr.Error{Kind: imgerr.ErrUnavailable, Host: cn.host.URL(), Text: scrub(netText(err), s.secrets)}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &failure{err: e, retry: true}
	}
	var (
		unknownCA  x509.UnknownAuthorityError
		badName    x509.HostnameError
		badCert    x509.CertificateInvalidError
		certVerify *tls.CertificateVerificationError
		op         *net.OpError
	)
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Remedy = "the server speaks plain http: write a hosts.toml with server = \"http://" + cn.host.Addr + "\" if that is meant"
	case errors.As(err, &unknownCA), errors.As(err, &badName), errors.As(err, &badCert), errors.As(err, &certVerify):
		e.Remedy = "name the registry's CA in hosts.toml, or correct its certificate"
	case errors.As(err, &op) && op.Op == "dial":
		e.Remedy = "check that the registry runs and can be reached from this node"
		return &failure{err: e, retry: true, dial: true}
	default:
		return &failure{err: e, retry: true}
	}
	return &failure{err: e}
}

// netText is the text of a network error without the address, which may carry
// a signature of a redirect, and without repeating what the error type says.
func netText(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		text := ue.Err.Error()
		if u, perr := url.Parse(ue.URL); perr == nil {
			return text + " at " + redactURL(u)
		}
		return text
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // the rest may be a token server's answer
	return text
}

func (s *Session) classifyStatus(cn *conn, code int, h http.Header, text string) *failure {
	if text == "" {
		text = http.StatusText(code)
	}
	e := &imgerr.Error{Kind: imgerr.ErrUnavailable, Host: cn.host.URL(), Status: code, Text: scrub(fmt.Sprintf("status %d: %s", code, text), s.secrets)}
	f := &failure{err: e}
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		e.Kind = imgerr.ErrUnauthorized
		e.Remedy = "give credentials that may pull it, for example an imagePullSecret; the repository may also not exist"
		if !cn.auth.IsZero() {
			e.Remedy = "the given credentials are not accepted: check the imagePullSecret and that the repository exists"
		}
	case code == http.StatusNotFound:
		e.Kind = imgerr.ErrNotFound
		e.Remedy = "check repository and tag"
	case code == http.StatusTooManyRequests:
		e.Remedy = "the registry limits the rate of pulls: use credentials or a mirror"
		f.retry, f.after = true, retryAfter(h)
	case code >= 500 || code == http.StatusRequestTimeout:
		f.retry, f.after = true, retryAfter(h)
	}
	return f
}

func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return time.Until(t)
	}
	return 0
}

// bodyText takes the messages out of a registry's error answer.
func bodyText(r io.Reader) string {
	data, _ := io.ReadAll(io.LimitReader(r, 4096))
	var body struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(data, &body) != nil {
		return ""
	}
	var texts []string
	for _, e := range body.Errors {
		texts = append(texts, strings.TrimSpace(clean(e.Code)+" "+clean(e.Message)))
	}
	return strings.Join(texts, "; ")
}

// clean makes a server's text fit for one line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

// summary makes one error of those of all hosts. The registry's own answer
// decides the kind, unless only a mirror told something definite.
func (s *Session) summary(failed []*imgerr.Error) error {
	switch len(failed) {
	case 0:
		return &imgerr.Error{Kind: imgerr.ErrUnavailable, Host: s.domain, Text: "no host may serve this", Remedy: "check the capabilities in hosts.toml"}
	case 1:
		return failed[0]
	}
	last := failed[len(failed)-1]
	kind := last.Kind
	var texts []string
	for _, e := range failed {
		if kind == imgerr.ErrUnavailable && e.Kind == imgerr.ErrUnauthorized {
			kind = e.Kind
		}
		c := *e
		c.Kind, c.Remedy, c.Host = nil, "", ""
		texts = append(texts, e.Host+": "+c.Error())
	}
	return &imgerr.Error{Kind: kind, Host: s.domain, Status: last.Status, Text: "no host could serve it: " + strings.Join(texts, "; "), Remedy: last.Remedy}
}
