package images

import "runtime"

// Platform of all images.
const (
	platformOS   = "wasip1"
	platformArch = "wasm"
)

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// spec says what one image is.
type spec struct {
	names      []string // repository:tag, without the registry
	extra      []file   // the layer above the toolbox's, if any
	entrypoint []string
	cmd        []string
	user       string
	port       string // such as 80/tcp
}

// sh is what most images run.
var sh = []string{"sh"}

// specs lists all images. Their ids differ pairwise, as the suite wants it: the
// id is the digest of the config, so another file, user or command is enough.
func specs(module []byte) []spec {
	const (
		e2e     = "e2e-test-images/"
		staging = "k8s-staging-cri-tools/"
	)
	set := []spec{
		{names: []string{"toolbox:latest"}, cmd: sh},
		{names: []string{e2e + "busybox:1.29-2"}, cmd: sh, extra: marker("busybox")},
		// The process of nginx calls itself "master process"; the suite looks
		// for those words in /proc/1/cmdline.
		{names: []string{e2e + "nginx:1.14-2"}, entrypoint: []string{"/usr/sbin/nginx", "nginx: master process"}, port: "80/tcp"},
		{names: []string{e2e + "httpd:2.4.39-4"}, entrypoint: []string{"/usr/sbin/httpd"}, port: "80/tcp"},
		// A copy, not a link: the set-user-id bit belongs to this name only.
		{names: []string{e2e + "nonewprivs:1.3"}, entrypoint: []string{"/nnp"}, extra: []file{{name: "nnp", data: module, mode: 0o4755}}},
		{names: []string{staging + "hostnet-nginx-" + runtime.GOARCH + ":latest"}, entrypoint: []string{"/usr/sbin/nginx", "-p", "12003"}, port: "12003/tcp"},
		{names: []string{staging + "test-image-tags:1", staging + "test-image-tags:2", staging + "test-image-tags:3"}, cmd: sh, extra: marker("same-image")},
		{names: []string{staging + "test-image-tag:test"}, cmd: sh, extra: marker("test")},
		{names: []string{staging + "test-image-tag:all"}, cmd: sh, extra: marker("all")},
		{names: []string{staging + "test-image-user-uid:latest"}, cmd: sh, user: "1002"},
		{names: []string{staging + "test-image-user-username:latest"}, cmd: sh, user: "www-data"},
		{names: []string{staging + "test-image-user-uid-group:latest"}, cmd: sh, user: "1003:1004"},
		{names: []string{staging + "test-image-user-username-group:latest"}, cmd: sh, user: "www-data:1004"},
		{names: []string{staging + "test-image-predefined-group:latest"}, cmd: sh, user: "1000", extra: predefinedGroup()},
		{names: []string{"pause:3.9"}, entrypoint: []string{"/bin/pause"}},
	}
	for _, name := range []string{"1", "2", "3", "latest", "digest"} {
		set = append(set, spec{names: []string{staging + "test-image-" + name + ":latest"}, cmd: sh, extra: marker("test-image-" + name)})
	}
	return set
}

// marker is an empty file that makes an image differ from others.
func marker(name string) []file { return []file{{name: name, mode: 0o644}} }

func predefinedGroup() []file {
	return []file{
		{name: "etc/passwd", mode: 0o644, data: []byte(passwd + "default-user:x:1000:1000::/home/default-user:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, data: []byte(group + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n")},
	}
}

const passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
`

const group = `root:x:0:
www-data:x:33:
nogroup:x:65534:
`
