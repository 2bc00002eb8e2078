// Package config is the configuration of the daemon.
//
// An Option is one thing that can be set, by four means that share its name: a
// key in a TOML file, an environment variable, a flag; where none does, its
// default holds. All options stand in one table, from which the flags, the
// commented default file and the documentation are made.
//
//	cni.conf_dir        in /etc/cri-wasmer/config.toml and conf.d/*.toml
//	CRI_WASMER_CNI_CONF_DIR
//	--cni-conf-dir
//
// A flag wins over the environment, that over the files, a later file over an
// earlier one. A key that no option has is an error: it is a misspelled one.
package config
