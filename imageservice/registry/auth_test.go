package registry

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSecretsAreTakenOutWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		auth Auth
		text string
	}{
		"a password":                 {Auth{Password: "p4ssword"}, "p4ssword"},
		"within the auth field":      {Auth{Auth: base64.StdEncoding.EncodeToString([]byte("me:p4ssword"))}, "p4ssword"},
		"the same without padding":   {Auth{Auth: base64.RawStdEncoding.EncodeToString([]byte("me:p4ssword!"))}, "p4ssword!"},
		"in a query":                 {Auth{Password: "p4ss&word"}, "p4ss%26word"},
		"in a header":                {Auth{Username: "me", Password: "p4ssword"}, base64.StdEncoding.EncodeToString([]byte("me:p4ssword"))},
		"one that begins as another": {Auth{Password: "p4ss", RegistryToken: "p4ssword-token"}, "p4ssword-token"},
		"a token":                    {Auth{IdentityToken: "refresh-token"}, "refresh-token"},
	} {
		if got, want := scrub("before "+tc.text+" after", tc.auth.secrets()), "before REDACTED after"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// FuzzAuth: whatever a credential holds, an error about it and everything that
// prints it give nothing of it away.
func FuzzAuth(f *testing.F) {
	f.Add("", "", base64.StdEncoding.EncodeToString([]byte("user:password")), "", "")
	f.Add("", "", "dXNlcjpwYXNz", "https://r.example.com/v1/", "")
	f.Add("user", "password", "no base64", "r.example.com", "")
	f.Add("", "", "AAAA", "docker.io", "token")
	f.Fuzz(func(t *testing.T, user, password, auth, server, token string) {
		a := Auth{Username: user, Password: password, Auth: auth, ServerAddress: server, IdentityToken: token, RegistryToken: token}
		said := fmt.Sprintf("%v %+v %#v %s %v", a, a, a, a, a.LogValue())
		authenticator, err := a.authenticator()
		if (authenticator == nil) == (err == nil) {
			t.Fatalf("%v and %v", authenticator, err)
		}
		if err != nil {
			said += err.Error()
		}
		secrets := a.secrets()
		if _, p, err := a.userPassword(); err == nil && p != "" && !slices.Contains(secrets, p) {
			t.Fatalf("%q is no secret", p)
		}
		for _, s := range secrets {
			// Shorter ones may be in any text by chance.
			if len(s) > 12 && (strings.Contains(said, s) || !strings.Contains(s, "REDACTED") && strings.Contains(scrub("before "+s+" after", secrets), s)) {
				t.Fatalf("%q is told in %q, or not taken out of a text", s, said)
			}
		}
		for _, h := range []Host{{Addr: "r.example.com", Origin: true}, {Addr: "mirror.example.com"}} {
			if a.appliesTo(&h, "r.example.com") && h.Addr == "mirror.example.com" && hostOf(server) != h.Addr {
				t.Fatalf("a credential of %q goes to %s", server, h.Addr)
			}
		}
	})
}
