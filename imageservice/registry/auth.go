package registry

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Auth is the credential of one pull, in all the forms that the CRI knows. It
// prints as nothing but its presence.
type Auth struct {
	Username      string
	Password      string
	Auth          string // base64 of user:password
	ServerAddress string // the only host that may see it; empty for the registry itself
	IdentityToken string // refresh token of an OAuth login
	RegistryToken string // bearer token as it is
}

// IsZero says whether there is no credential at all.
func (a Auth) IsZero() bool {
	return a.Username == "" && a.Password == "" && a.Auth == "" && a.IdentityToken == "" && a.RegistryToken == ""
}

// String implements fmt.Stringer without giving anything away.
func (a Auth) String() string {
	if a.IsZero() {
		return "anonymous"
	}
	return "credentials"
}

// GoString implements fmt.GoStringer for %#v.
func (a Auth) GoString() string { return "registry.Auth(" + a.String() + ")" }

// LogValue implements slog.LogValuer.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

func (a Auth) authenticator() (authn.Authenticator, error) {
	if a.IsZero() {
		return authn.Anonymous, nil
	}
	user, pass := a.Username, a.Password
	if a.Auth != "" && user == "" && pass == "" {
		raw, err := base64.StdEncoding.DecodeString(a.Auth)
		if err != nil {
			raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(a.Auth, "="))
		}
		u, p, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok {
			return nil, errors.New("the auth field of the credentials is not the base64 form of user:password")
		}
		user, pass = u, strings.Trim(p, "\x00")
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: user, Password: pass, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), nil
}

// secrets lists the strings that no text may show.
func (a Auth) secrets() []string {
	list := []string{a.Password, a.Auth, a.IdentityToken, a.RegistryToken}
	if raw, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
		if u, p, ok := strings.Cut(string(raw), ":"); ok {
			list = append(list, p, base64.StdEncoding.EncodeToString([]byte(u+":"+p)))
		}
	}
	if a.Password != "" {
		list = append(list, url.QueryEscape(a.Password), base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)))
	}
	return list
}

// scrub replaces every secret in text.
func scrub(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) > 2 { // shorter ones would shred the text and are no secret
			text = strings.ReplaceAll(text, s, "REDACTED")
		}
	}
	return text
}

// appliesTo says whether the credential may be sent to the host. Without a
// server address it belongs to the registry that the image name says, and not
// to its mirrors.
func (a Auth) appliesTo(h *Host, domain string) bool {
	if a.ServerAddress == "" {
		return h.Origin || h.Addr == domain
	}
	addr := hostOf(a.ServerAddress)
	return addr == h.Addr || (h.Origin && (addr == domain || isDockerHub(addr) && domain == "docker.io"))
}

func isDockerHub(addr string) bool {
	return addr == "docker.io" || addr == "index.docker.io" || addr == "registry-1.docker.io"
}

// hostOf takes the host out of "https://host/v1/", "host/path" or "host".
func hostOf(addr string) string {
	if _, rest, ok := strings.Cut(addr, "://"); ok {
		addr = rest
	}
	addr, _, _ = strings.Cut(addr, "/")
	return addr
}
