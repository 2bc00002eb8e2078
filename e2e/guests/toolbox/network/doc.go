// Package network holds the toolbox's programs that use TCP: clients, servers
// and the stand-ins for the web servers of the conformance suite.
package network

import "github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"

// Programs gives the programs of this package.
func Programs() applet.Table {
	return applet.Table{
		"httpd": httpd, "nc": nc, "nginx": nginx, "nslookup": nslookup, "wget": wget,
	}
}
