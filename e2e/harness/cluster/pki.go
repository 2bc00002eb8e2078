package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki is the certificate authority of a cluster and the directory of its keys:
// NAME.crt and NAME.key for each certificate.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64 // serial number
}

// subject is whom a certificate is for. Kubernetes takes the common name as the
// user and the organizations as the groups.
type subject struct {
	name   string // of the files
	user   string
	groups []string
	hosts  []string // names and addresses of a server
}

// newPKI makes the authority "ca" in dir.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the authority: %w", err)
	}
	p := &pki{dir: dir, key: key}
	template := p.template(subject{user: "cri-wasmer-cluster"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	p.cert = template
	der, err := p.write("ca", template, key)
	if err != nil {
		return nil, err
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return p, nil
}

// issue makes a certificate for servers and clients alike.
func (p *pki) issue(s subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of %s: %w", s.name, err)
	}
	_, err = p.write(s.name, p.template(s), key)
	return err
}

func (p *pki) template(s subject) *x509.Certificate {
	p.last++
	t := &x509.Certificate{
		SerialNumber: big.NewInt(p.last),
		Subject:      pkix.Name{CommonName: s.user, Organization: s.groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range s.hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return t
}

// write signs a certificate and writes it with its key.
func (p *pki) write(name string, template *x509.Certificate, key *ecdsa.PrivateKey) (der []byte, err error) {
	if der, err = x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.key); err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	if err := writePEM(p.crt(name), "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return der, writeKey(p.keyFile(name), key)
}

// serviceAccountKey makes the key that signs the tokens of service accounts, as
// sa.key, and sa.pub to check them.
func (p *pki) serviceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(p.dir, "sa.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(p.keyFile("sa"), key)
}

func (p *pki) crt(name string) string     { return filepath.Join(p.dir, name+".crt") }
func (p *pki) keyFile(name string) string { return filepath.Join(p.dir, name+".key") }

// writeKubeconfig writes a kubeconfig that speaks to server as the subject
// called name. It holds all by itself, so that it can be copied.
func (p *pki) writeKubeconfig(file, server, name string) error {
	content := map[string][]byte{}
	for _, part := range []string{p.crt("ca"), p.crt(name), p.keyFile(name)} {
		data, err := os.ReadFile(part)
		if err != nil {
			return err
		}
		content[part] = data
	}
	data, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "default",
		"clusters": []any{map[string]any{"name": "cri-wasmer", "cluster": map[string]any{
			"server": server, "certificate-authority-data": content[p.crt("ca")]}}},
		"users": []any{map[string]any{"name": name, "user": map[string]any{
			"client-certificate-data": content[p.crt(name)], "client-key-data": content[p.keyFile(name)]}}},
		"contexts": []any{map[string]any{"name": "default", "context": map[string]any{
			"cluster": "cri-wasmer", "user": name}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
