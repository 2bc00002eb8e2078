package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Config is a set of options and where each comes from.
type Config struct {
	Options
	// Sources tells, by option name, who set it: "default", a file with a line,
	// an environment variable or a flag.
	Sources map[string]string
	// Files were read, in this order.
	Files []string
	// Unknown lists environment variables that look like options and are none.
	Unknown []string
}

// Error is one thing that is wrong with an option.
type Error struct {
	Option string // its name, or the key that is none
	Source string // who set it
	Value  string // empty where it does not matter
	Err    error  // what is wrong and what would be right
}

func (e *Error) Error() string {
	what := e.Option
	if e.Value != "" {
		what += " = " + e.Value
	}
	return fmt.Sprintf("%s: option %s: %v", e.Source, what, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// AddFlags defines a flag for each option, and --config. With names it defines
// the flags of these options alone, for commands that need no more.
func AddFlags(fs *pflag.FlagSet, names ...string) {
	fs.String("config", "", "configuration file (default "+DefaultFile+"); *.toml in the directory conf.d beside it are read, too")
	for _, opt := range table {
		if len(names) > 0 && !slices.Contains(names, opt.Name()) {
			continue
		}
		var scratch Options
		v := opt.value(&scratch)
		v.reset()
		help, _, _ := strings.Cut(opt.Help, "\n")
		f := fs.VarPF(&flagValue{value: v}, opt.Flag(), "", help)
		if v.form == formBoolean {
			f.NoOptDefVal = "true" // --cni-bundled stands for --cni-bundled=true
		}
	}
}

// flagValue checks what a flag is given and keeps it until Load.
type flagValue struct {
	value
	given []string
}

func (f *flagValue) String() string {
	if f.value.get == nil {
		return "" // pflag makes a zero value to compare defaults with
	}
	return f.text()
}
func (f *flagValue) Type() string { return f.kind }

// Set takes a list option several times: --cni-bin-dirs a --cni-bin-dirs b.
func (f *flagValue) Set(s string) error {
	if f.form != formList {
		f.given = nil
	}
	f.given = append(f.given, s)
	return f.setText(strings.Join(f.given, ","))
}

// Load merges defaults, files, environment and flags, in this order, and
// validates the result. flags are those of AddFlags, or nil; env is in the form
// of os.Environ. All that is wrong is reported, joined; each is an *Error, but
// for files that cannot be read or parsed.
func Load(flags *pflag.FlagSet, env []string) (*Config, error) {
	c := &Config{Options: defaults(), Sources: make(map[string]string)}
	for _, opt := range table {
		c.Sources[opt.Name()] = "default"
	}
	environ := split(env)
	errs := []error{c.loadFiles(configFile(flags, environ)), c.loadEnv(environ), c.loadFlags(flags)}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// split turns KEY=VALUE strings into a map of ours.
func split(env []string) map[string]string {
	m := make(map[string]string)
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, envPrefix) {
			m[k] = v
		}
	}
	return m
}

// configFile says which file to read, and whether it must exist.
func configFile(flags *pflag.FlagSet, env map[string]string) (file string, must bool) {
	if flags != nil {
		if f := flags.Lookup("config"); f != nil && f.Changed {
			return f.Value.String(), true
		}
	}
	if v := env[configEnv]; v != "" {
		return v, true
	}
	return DefaultFile, false
}

// loadFiles reads the main file and the drop-ins beside it.
func (c *Config) loadFiles(file string, must bool) error {
	if _, err := os.Stat(file); err == nil || must || !errors.Is(err, fs.ErrNotExist) {
		if err := c.loadFile(file); err != nil {
			return err
		}
	}
	dropIns, err := filepath.Glob(filepath.Join(filepath.Dir(file), "conf.d", "*.toml"))
	if err != nil {
		return fmt.Errorf("list drop-ins of %s: %w", file, err)
	}
	var errs []error
	for _, f := range dropIns { // sorted
		errs = append(errs, c.loadFile(f))
	}
	return errors.Join(errs...)
}

func (c *Config) loadEnv(env map[string]string) error {
	var errs []error
	known := map[string]bool{configEnv: true}
	for _, opt := range table {
		known[opt.Env()] = true
		if v, ok := env[opt.Env()]; ok {
			errs = append(errs, c.set(opt, opt.Env(), v, opt.value(&c.Options).setText(v)))
		}
	}
	for k := range env {
		if !known[k] {
			c.Unknown = append(c.Unknown, k)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) loadFlags(flags *pflag.FlagSet) error {
	if flags == nil {
		return nil
	}
	var errs []error
	for _, opt := range table {
		if f := flags.Lookup(opt.Flag()); f != nil && f.Changed {
			v := f.Value.String()
			errs = append(errs, c.set(opt, "--"+opt.Flag(), v, opt.value(&c.Options).setText(v)))
		}
	}
	return errors.Join(errs...)
}

// set notes who set the option, or turns err into an *Error.
func (c *Config) set(opt Option, source, val string, err error) error {
	if err != nil {
		return &Error{Option: opt.Name(), Source: source, Value: val, Err: err}
	}
	c.Sources[opt.Name()] = source
	return nil
}
