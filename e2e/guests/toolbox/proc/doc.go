// Package proc holds the toolbox's programs that tell about the system and its
// processes, all by reading /proc: preview1 itself knows no ids, names or other
// processes.
package proc

import "github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"

// Programs gives the programs of this package.
func Programs() applet.Table {
	return applet.Table{
		"date": date, "env": env, "free": free, "groups": groups, "hostname": hostname, "id": id,
		"ipcs": ipcs, "kill": kill, "netstat": netstat, "nnp": nnp, "pause": pause, "pgrep": pgrep,
		"pidof": pidof, "printenv": printenv, "ps": ps, "sleep": sleep, "timeout": timeout, "top": top,
		"tty": tty, "uname": uname, "uptime": uptime, "usleep": usleep, "whoami": whoami,
	}
}
