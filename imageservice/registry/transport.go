package registry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const defaultDial = 10 * time.Second

// transports shares connections between sessions: one http.Transport for each
// set of TLS settings. Credentials are never part of it. Safe for concurrent
// use.
type transports struct {
	mu    sync.Mutex
	byKey map[string]stamped
}

// stamped is a transport with what tells the files apart that it has read.
type stamped struct {
	*http.Transport
	stamp string
}

// get gives the transport for the host. Certificates are read when a set of
// settings is first used, and again when one of the files has changed.
func (t *transports) get(h *Host) (*http.Transport, error) {
	key, stamp, err := tlsKey(h)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byKey[key]
	if ok && old.stamp == stamp {
		return old.Transport, nil
	}
	cfg, err := tlsConfig(h)
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: cmp.Or(h.DialTimeout, defaultDial), KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       cfg,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          32,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // digests are of the bytes as sent
	}
	if t.byKey == nil {
		t.byKey = map[string]stamped{}
	}
	if ok {
		old.CloseIdleConnections()
	}
	t.byKey[key] = stamped{tr, stamp}
	return tr, nil
}

func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tr := range t.byKey {
		tr.CloseIdleConnections()
	}
}

// tlsKey names the settings of a host, and says what tells the files apart that
// they name.
func tlsKey(h *Host) (key, stamp string, err error) {
	var stamps strings.Builder
	files := slices.Clone(h.CA)
	for _, p := range h.Client {
		files = append(files, p[0], p[1])
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", "", fmt.Errorf("certificate for registry host %s: %w", h.Addr, err)
		}
		fmt.Fprintf(&stamps, "%d %d ", info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Sprintf("%s %v %s %q %q", h.Addr, h.SkipVerify, h.DialTimeout, h.CA, h.Client), stamps.String(), nil
}

func tlsConfig(h *Host) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.SkipVerify} // skip_verify is the administrator's word
	if len(h.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, f := range h.CA {
			pem, err := os.ReadFile(f)
			if err != nil {
				return nil, fmt.Errorf("CA for registry host %s: %w", h.Addr, err)
			}
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("CA for registry host %s: no certificate in %s", h.Addr, f)
			}
		}
		cfg.RootCAs = pool
	}
	for _, p := range h.Client {
		cert, err := tls.LoadX509KeyPair(p[0], p[1])
		if err != nil {
			return nil, fmt.Errorf("client certificate for registry host %s: %w", h.Addr, err)
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	return cfg, nil
}

// hostTransport sends what go-containerregistry addresses to https://ADDR/v2/
// where the host's configuration says: its scheme, API root and headers, with
// the namespace that mirrors want to know.
type hostTransport struct {
	host  *Host
	ns    string // registry domain as requested, for mirrors
	inner http.RoundTripper
	plain atomic.Bool // the loopback server turned out to speak plain http
}

// RoundTrip implements http.RoundTripper.
func (t *hostTransport) RoundTrip(in *http.Request) (*http.Response, error) {
	if in.URL.Host != t.host.Addr {
		return t.inner.RoundTrip(in) // a redirect or a token server
	}
	req := t.rewrite(in)
	resp, err := t.inner.RoundTrip(req)
	if err == nil || !t.host.Fallback || t.plain.Load() || !speaksPlain(err) || in.Body != nil {
		return resp, err
	}
	t.plain.Store(true)
	return t.inner.RoundTrip(t.rewrite(in))
}

func (t *hostTransport) rewrite(in *http.Request) *http.Request {
	req := in.Clone(in.Context())
	req.URL.Scheme = t.host.Scheme
	if t.plain.Load() {
		req.URL.Scheme = "http"
	}
	rest, ok := strings.CutPrefix(req.URL.Path, "/v2/")
	if !ok {
		return req
	}
	req.URL.Path = t.host.Path + "/" + rest
	req.URL.RawPath = ""
	for k, v := range t.host.Headers {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	if !t.host.Origin && rest != "" {
		q := req.URL.Query()
		q.Set("ns", t.ns)
		req.URL.RawQuery = q.Encode()
	}
	return req
}

// speaksPlain says whether a TLS handshake failed because the other side
// answered in plain http, or hung up on it.
func speaksPlain(err error) bool {
	var rec tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &rec)
}

// redactURL removes what may be secret from an address: user and query.
func redactURL(u *url.URL) string {
	c := *u
	c.User, c.Fragment = nil, ""
	if c.RawQuery != "" {
		c.RawQuery = "REDACTED"
	}
	return c.String()
}
