package signature

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	verifyv1 "github.com/cri-wasmer/cri-wasmer/proto/verify/v1"
)

// What a rule can want.
const (
	Accept   = "none"     // no signature
	Reject   = "reject"   // nothing is good enough
	Cosign   = "cosign"   // a cosign signature by one of the keys
	Notation = "notation" // a notation signature under one of the authorities
)

// Rule is what the policy wants of images whose names begin alike.
type Rule struct {
	Prefix  string `toml:"prefix"` // without a slash at its end
	Require string `toml:"require"`

	Keys    []string `toml:"keys"`     // cosign: files of public keys
	LogKeys []string `toml:"log_keys"` // cosign: public keys of logs; one must have the signature

	Authorities []string `toml:"authorities"` // notation: files of certificates
	Identities  []string `toml:"identities"`  // notation: who may sign
	Level       string   `toml:"level"`       // notation: strict, permissive, audit

	file   string
	demand verifyv1.Demand
}

// String names the rule for messages.
func (r *Rule) String() string { return fmt.Sprintf("the rule for %q in %s", r.Prefix, r.file) }

// Policy is the content of a policy file.
type Policy struct {
	Rules []*Rule `toml:"rule"`
}

const maxFile = 1 << 20

// Load reads a policy file and the keys that it names. Keys with a relative
// name are beside it. Errors name the file and the rule.
func Load(file string) (*Policy, error) {
	data, err := readSmall(file)
	if err != nil {
		return nil, fmt.Errorf("signature policy: %w", err)
	}
	p, err := parse(data, file)
	if err != nil {
		return nil, fmt.Errorf("signature policy %s: %w", file, err)
	}
	return p, nil
}

func parse(data []byte, file string) (*Policy, error) {
	p := &Policy{}
	dec := toml.NewDecoder(strings.NewReader(string(data))).DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, fmt.Errorf("unknown key: %s", strings.TrimSpace(strict.String()))
		}
		return nil, err
	}
	seen := map[string]bool{}
	for i, r := range p.Rules {
		r.file, r.Prefix = file, strings.TrimSuffix(r.Prefix, "/")
		if err := checkPrefix(r.Prefix); err != nil {
			return nil, fmt.Errorf("rule %d: prefix %q %w", i+1, r.Prefix, err)
		}
		if seen[r.Prefix] {
			return nil, fmt.Errorf("rule %d: a second one for prefix %q", i+1, r.Prefix)
		}
		seen[r.Prefix] = true
		if err := r.load(filepath.Dir(file)); err != nil {
			return nil, fmt.Errorf("rule %d for prefix %q: %w", i+1, r.Prefix, err)
		}
	}
	return p, nil
}

// everything is the prefix that all images have.
const everything = "*"

// checkPrefix refuses what no image's name can begin with: such a rule would
// protect nothing, and nobody would know.
func checkPrefix(prefix string) error {
	host, path, _ := strings.Cut(prefix, "/")
	switch {
	case prefix == everything:
		return nil
	case prefix == "":
		return errors.New("is empty: write \"*\" for all images")
	case !strings.ContainsAny(host, ".:[") && host != "localhost" && strings.ToLower(host) == host:
		return errors.New("does not begin with a registry, such as docker.io/library")
	case host == "index.docker.io":
		return errors.New("covers nothing: that registry is called docker.io")
	case strings.ContainsAny(path, ":@"):
		return errors.New("covers nothing: it must not have a tag or digest")
	case path != strings.ToLower(path) || strings.ContainsAny(prefix, "* \t") || strings.Contains(prefix, "//"):
		return errors.New("covers nothing: it must be a registry, which whole elements of a path in lower case may follow")
	}
	return nil
}

// load checks a rule and reads its keys.
func (r *Rule) load(dir string) error {
	cosign := len(r.Keys)+len(r.LogKeys) > 0
	notation := len(r.Authorities)+len(r.Identities) > 0 || r.Level != ""
	switch r.Require {
	case Accept, Reject:
		if cosign || notation {
			return fmt.Errorf("require = %q needs no keys", r.Require)
		}
		return nil
	case Cosign:
		if notation || len(r.Keys) == 0 {
			return errors.New("cosign needs keys, and may have log_keys; authorities, identities and level are notation's")
		}
		return r.loadCosign(dir)
	case Notation:
		if cosign || len(r.Authorities) == 0 {
			return errors.New("notation needs authorities, and may have identities and level; keys and log_keys are cosign's")
		}
		return r.loadNotation(dir)
	}
	return fmt.Errorf("require = %q: want one of none, reject, cosign, notation", r.Require)
}

func (r *Rule) loadCosign(dir string) (err error) {
	c := &verifyv1.Cosign{}
	if c.Keys, err = readKeys(r.Keys, dir, "PUBLIC KEY"); err != nil {
		return err
	}
	c.LogKeys, err = readKeys(r.LogKeys, dir, "PUBLIC KEY")
	r.demand.Cosign = c
	return err
}

func (r *Rule) loadNotation(dir string) (err error) {
	n := &verifyv1.Notation{Identities: r.Identities, Level: r.Level}
	if len(n.Identities) == 0 {
		n.Identities = []string{"*"}
	}
	switch n.Level {
	case "":
		n.Level = "strict"
	case "strict", "permissive", "audit":
	default:
		return fmt.Errorf("level = %q: want one of strict, permissive, audit", n.Level)
	}
	n.Authorities, err = readKeys(r.Authorities, dir, "CERTIFICATE")
	r.demand.Notation = n
	return err
}

// readKeys reads files that must hold a PEM block of the type.
func readKeys(files []string, dir, block string) ([]verifyv1.Key, error) {
	var keys []verifyv1.Key
	for _, f := range files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(dir, f)
		}
		data, err := readSmall(f)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(data), "-----BEGIN "+block+"-----") {
			return nil, fmt.Errorf("%s holds no %s in PEM", f, strings.ToLower(block))
		}
		keys = append(keys, verifyv1.Key{Name: f, PEM: data})
	}
	return keys, nil
}

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", file, maxFile)
	}
	return data, err
}

// For gives the rule for a repository, such as registry.example.com/team/app:
// the one with the longest prefix of whole path elements; nil when there is
// none, or it wants nothing.
func (p *Policy) For(repository string) *Rule {
	var best *Rule
	for _, r := range p.Rules {
		if r.covers(repository) && (best == nil || len(r.Prefix) > len(best.Prefix)) {
			best = r
		}
	}
	if best == nil || best.Require == Accept {
		return nil
	}
	return best
}

func (r *Rule) covers(repository string) bool {
	rest, ok := strings.CutPrefix(repository, r.Prefix)
	return r.Prefix == everything || ok && (rest == "" || rest[0] == '/')
}
