package registry

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/url"
	"slices"
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
	user, pass, err := a.userPassword()
	if err != nil {
		return nil, err
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: user, Password: pass, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), nil
}

// userPassword gives the two, which may be told in one field.
func (a Auth) userPassword() (user, password string, err error) {
	if a.Auth == "" || a.Username != "" || a.Password != "" {
		return a.Username, a.Password, nil
	}
	raw, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(a.Auth, "="))
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return "", "", errors.New("the auth field of the credentials is not the base64 form of user:password")
	}
	return user, strings.Trim(password, "\x00"), nil
}

// secrets lists the strings that no text may show.
func (a Auth) secrets() []string {
	list := []string{a.Password, a.Auth, a.IdentityToken, a.RegistryToken}
	for _, c := range []Auth{{Username: a.Username, Password: a.Password}, {Auth: a.Auth}} {
		if user, password, err := c.userPassword(); err == nil && password != "" {
			list = append(list, password, url.QueryEscape(password), base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
		}
	}
	return list
}

// scrub replaces every secret in text, the longest first: another one may be a
// part of it.
func scrub(text string, secrets []string) string {
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
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
