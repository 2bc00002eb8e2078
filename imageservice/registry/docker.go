package registry

import (
	"fmt"
	"os"

	"github.com/docker/cli/cli/config/configfile"
)

// dockerAuth looks the host up in a docker config.json, credential helpers
// included. A missing file means no credential.
func dockerAuth(file string, h *Host, domain string) (Auth, error) {
	f, err := os.Open(file)
	if os.IsNotExist(err) {
		return Auth{}, nil
	}
	if err != nil {
		return Auth{}, fmt.Errorf("docker configuration: %w", err)
	}
	defer f.Close()
	cf := configfile.New(file)
	if err := cf.LoadFromReader(f); err != nil {
		return Auth{}, fmt.Errorf("docker configuration %s does not parse", file)
	}
	keys := []string{h.Addr}
	if h.Origin && domain == "docker.io" {
		keys = append(keys, "https://index.docker.io/v1/", "index.docker.io", "docker.io")
	}
	for _, key := range keys {
		a, err := cf.GetAuthConfig(key)
		if err != nil {
			return Auth{}, fmt.Errorf("credential helper for %s failed", key)
		}
		found := Auth{Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		if !found.IsZero() {
			return found, nil
		}
	}
	return Auth{}, nil
}

// FromDockerConfig looks the credential of a registry, as image names call it,
// up in a docker config.json, credential helpers included. A missing file means
// no credential.
func FromDockerConfig(file, domain string) (Auth, error) {
	return dockerAuth(file, &Host{Addr: domain, Origin: true}, domain)
}
