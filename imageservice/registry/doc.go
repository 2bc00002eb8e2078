// Package registry fetches manifests and blobs from OCI registries.
//
// A Client knows how to reach registries: the hosts.toml directories of the
// node, transports with their TLS settings, the global limit on downloads. A
// Session is one pull of one repository: it holds that pull's credentials and
// the hosts to ask in order, mirrors first. Nothing of one session's
// credentials is visible to another.
//
// Protocol and authentication are go-containerregistry's; this package adds the
// choice of hosts, retries, resumed downloads, and errors of package imgerr.
package registry
