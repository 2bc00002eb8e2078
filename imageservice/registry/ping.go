package registry

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Answer is what one host of a registry said when it was asked whether it is
// there.
type Answer struct {
	URL    string
	Mirror bool // not the registry itself
	Status int  // of HTTP; 401 is as good as 200
	Took   time.Duration
	Err    error // nothing came back
}

// Ping asks each host of a registry, as hosts.toml has them, for the root of its
// API, without credentials. The error is about configuration.
func (c *Client) Ping(ctx context.Context, domain string) ([]Answer, error) {
	s, err := c.Session(domain, "", Auth{})
	if err != nil {
		return nil, err
	}
	var list []Answer
	for _, cn := range s.conns {
		list = append(list, ping(ctx, cn))
	}
	return list, nil
}

func ping(ctx context.Context, cn *conn) Answer {
	a := Answer{URL: cn.host.URL(), Mirror: !cn.host.Origin}
	begin := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cn.host.URL()+"/v2/", nil)
	if err != nil {
		a.Err = err
		return a
	}
	resp, err := cn.rt.RoundTrip(req)
	a.Took = time.Since(begin)
	if err != nil {
		a.Err = err
		return a
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	a.Status = resp.StatusCode
	return a
}
