package imageservice

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Reference is the canonical form of an image name: the domain is never empty,
// and exactly one of Tag and Digest is set.
type Reference struct {
	Domain string // docker.io, 127.0.0.1:5000
	Path   string // library/busybox
	Tag    string // latest
	Digest string // sha256:...
}

const (
	maxNameLength = 255
	defaultDomain = "docker.io"
)

var (
	domainRE = regexp.MustCompile(`^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$`)
	pathRE   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRE    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	hexRE    = regexp.MustCompile(`^[0-9a-f]{1,64}$`)
)

// ParseReference reads an image name as docker and containerd do: the domain
// is docker.io when none is given, a single path component there is below
// library/, the tag is latest when there is neither tag nor digest, and a
// digest wins over a tag. Errors are of kind ErrInvalidReference.
func ParseReference(s string) (Reference, error) {
	fail := func(why string) (Reference, error) {
		return Reference{}, &imgerr.Error{
			Kind: imgerr.ErrInvalidReference, Image: printable(s), Text: "not an image name: " + why,
			Remedy: "write [HOST[:PORT]/]PATH[:TAG][@sha256:HEX] in lower case",
		}
	}
	if len(s) == 64 && hexRE.MatchString(s) {
		return fail("it is an image id")
	}
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !digestRE.MatchString(digest) {
		return fail("the digest must be sha256 with 64 hex digits")
	}
	name, tag := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		name, tag = rest[:i], rest[i+1:]
		if !tagRE.MatchString(tag) {
			return fail("bad tag")
		}
	}
	domain, path := splitDomain(name)
	switch {
	case len(domain)+1+len(path) > maxNameLength:
		return fail("too long")
	case !domainRE.MatchString(domain):
		return fail("bad registry host")
	case !pathRE.MatchString(path):
		return fail("bad repository path")
	}
	r := Reference{Domain: domain, Path: path, Tag: tag, Digest: digest}
	if digest != "" {
		r.Tag = ""
	} else if tag == "" {
		r.Tag = "latest"
	}
	return r, nil
}

func splitDomain(name string) (domain, path string) {
	first, rest, ok := strings.Cut(name, "/")
	if !ok || (!strings.ContainsAny(first, ".:[") && first != "localhost" && strings.ToLower(first) == first) {
		domain, path = defaultDomain, name
	} else {
		domain, path = first, rest
	}
	if domain == "index.docker.io" {
		domain = defaultDomain
	}
	if domain == defaultDomain && path != "" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return domain, path
}

// Name gives domain and path.
func (r Reference) Name() string { return r.Domain + "/" + r.Path }

// String gives the canonical name with tag or digest.
func (r Reference) String() string {
	if r.Digest != "" {
		return r.Name() + "@" + r.Digest
	}
	return r.Name() + ":" + r.Tag
}

// Target is the last path element of the manifest's address: tag or digest.
func (r Reference) Target() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// printable bounds a hostile name for an error text.
func printable(s string) string {
	if len(s) > maxNameLength {
		s = s[:maxNameLength] + "..."
	}
	if q := fmt.Sprintf("%q", s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}
