package registry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/semaphore"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Options configure a Client. The zero value is usable.
type Options struct {
	CertsDirs    []string      // hosts.toml directories, the first that has a registry wins
	DockerConfig string        // docker's config.json with credentials of the node, or empty
	MaxDownloads int           // blobs at a time, over all pulls; 0 means 4
	StallTimeout time.Duration // a download without a byte for so long is begun anew; 0 means 30 s
	Backoff      time.Duration // wait before the first retry, doubled each time; 0 means 100 ms
	UserAgent    string
	Logger       *slog.Logger
}

// Client reaches registries. Safe for concurrent use.
type Client struct {
	opt       Options
	downloads *semaphore.Weighted
	tr        transports
}

// NewClient makes a Client; Close ends its idle connections.
func NewClient(opt Options) *Client {
	if opt.MaxDownloads <= 0 {
		opt.MaxDownloads = 4
	}
	if opt.StallTimeout <= 0 {
		opt.StallTimeout = 30 * time.Second
	}
	if opt.Backoff <= 0 {
		opt.Backoff = 100 * time.Millisecond
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "cri-wasmer"
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{opt: opt, downloads: semaphore.NewWeighted(int64(opt.MaxDownloads))}
}

// Close ends idle connections.
func (c *Client) Close() error {
	c.tr.close()
	return nil
}

// Session is the view of one pull on one repository. Safe for concurrent use.
type Session struct {
	client  *Client
	domain  string
	repo    string
	conns   []*conn
	secrets []string

	mu  sync.Mutex
	bad map[string]map[*conn]bool // digest -> hosts that lied about it
}

// conn is one host of a session, authenticated on first use.
type conn struct {
	host *Host
	auth Auth
	rt   http.RoundTripper // scheme, path and headers of the host

	mu     sync.Mutex
	client *http.Client // nil until authenticated
}

// Session starts a pull of a repository, such as "docker.io" and
// "library/busybox". It reads the hosts.toml of the registry, so that a change
// of it needs no restart, and does not touch the network. Errors are about
// configuration and credentials that do not parse.
func (c *Client) Session(domain, repo string, auth Auth) (*Session, error) {
	hosts, err := LoadHosts(c.opt.CertsDirs, domain)
	if err != nil {
		return nil, &imgerr.Error{Kind: imgerr.ErrUnavailable, Host: domain, Err: err}
	}
	if _, err := auth.authenticator(); err != nil {
		return nil, &imgerr.Error{Kind: imgerr.ErrUnauthorized, Host: domain, Text: err.Error(), Remedy: "correct the image pull secret"}
	}
	s := &Session{client: c, domain: domain, repo: repo, secrets: auth.secrets(), bad: map[string]map[*conn]bool{}}
	for i := range hosts {
		h := &hosts[i]
		tr, err := c.tr.get(h)
		if err != nil {
			return nil, &imgerr.Error{Kind: imgerr.ErrUnavailable, Host: h.Addr, Err: err}
		}
		cn := &conn{host: h, rt: &hostTransport{host: h, ns: domain, inner: tr}}
		if err := s.credentials(cn, auth); err != nil {
			return nil, err
		}
		s.conns = append(s.conns, cn)
	}
	return s, nil
}

// credentials gives the connection the credential of the pull when it may see
// it, else what the node's docker configuration says.
func (s *Session) credentials(cn *conn, auth Auth) error {
	if !auth.IsZero() && auth.appliesTo(cn.host, s.domain) {
		cn.auth = auth
		return nil
	}
	if s.client.opt.DockerConfig == "" {
		return nil
	}
	a, err := dockerAuth(s.client.opt.DockerConfig, cn.host, s.domain)
	if err != nil {
		return &imgerr.Error{Kind: imgerr.ErrUnauthorized, Host: cn.host.Addr, Err: err, Remedy: "correct " + s.client.opt.DockerConfig}
	}
	cn.auth = a
	s.secrets = append(s.secrets, a.secrets()...)
	return nil
}

// dial authenticates on first use, by the challenge of the host.
func (s *Session) dial(ctx context.Context, cn *conn) (*http.Client, error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.client != nil {
		return cn.client, nil
	}
	reg, err := name.NewRegistry(cn.host.Addr, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("registry host %q: %w", cn.host.Addr, err)
	}
	auth, err := cn.auth.authenticator()
	if err != nil {
		return nil, err
	}
	rt := transport.NewUserAgent(cn.rt, s.client.opt.UserAgent)
	scope := fmt.Sprintf("repository:%s:%s", s.repo, transport.PullScope)
	authed, err := transport.NewWithContext(ctx, reg, auth, rt, []string{scope})
	if code := statusOf(err); code == http.StatusNotFound || code == http.StatusForbidden || code == http.StatusMethodNotAllowed {
		// Not every mirror serves the API's root; it may serve content.
		authed, err = transport.FromToken(reg, auth, rt, &transport.Challenge{Insecure: cn.host.Scheme == "http"}, &transport.Token{})
	}
	if err != nil {
		return nil, err
	}
	cn.client = &http.Client{Transport: authed}
	return cn.client, nil
}
