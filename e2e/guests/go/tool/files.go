//go:build wasip1

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// cat copies the named files, or stdin without names, to stdout.
func cat(args []string) int {
	if len(args) == 0 {
		args = []string{"-"}
	}
	for _, name := range args {
		if err := copyOut(name); err != nil {
			return fail(err)
		}
	}
	return 0
}

func copyOut(name string) error {
	if name == "-" {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(os.Stdout, f)
	return err
}

// ls prints the names in a directory, one a line; -A shows hidden ones too.
func ls(args []string) int {
	all := len(args) > 0 && args[0] == "-A"
	if all {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	for _, dir := range args {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fail(err)
		}
		for _, e := range entries {
			if all || !strings.HasPrefix(e.Name(), ".") {
				fmt.Println(e.Name())
			}
		}
	}
	return 0
}

func touch(args []string) int {
	for _, name := range args {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fail(err)
		}
		if err := f.Close(); err != nil {
			return fail(err)
		}
	}
	return 0
}

// write puts the text of its second argument into the file named by the first.
func write(args []string) int {
	if len(args) != 2 {
		return fail(fmt.Errorf("write wants a file and a text"))
	}
	if err := os.WriteFile(args[0], []byte(args[1]), 0o644); err != nil {
		return fail(err)
	}
	return 0
}

func mkdir(args []string) int {
	for _, dir := range args {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fail(err)
		}
	}
	return 0
}

func rm(args []string) int {
	for _, name := range args {
		if err := os.RemoveAll(name); err != nil {
			return fail(err)
		}
	}
	return 0
}

func pwd([]string) int {
	dir, err := os.Getwd()
	if err != nil {
		return fail(err)
	}
	fmt.Println(dir)
	return 0
}
