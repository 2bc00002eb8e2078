//go:build wasip1

// Command files works on files as a Go program does, and exits 0 only when all
// of it came out right. Its argument is a directory that it may create.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	dir := "/files-go"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	steps := []struct {
		name string
		run  func(dir string) error
	}{
		{"create, write and read back", createAndRead},
		{"seek and truncate", seekAndTruncate},
		{"append", appendTo},
		{"rename", rename},
		{"symlink", symlink},
		{"directories", directories},
		{"many entries", manyEntries},
		{"times", times},
		{"errors", wantErrors},
		{"remove", removeAll},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Println("FAIL mkdir:", err)
		os.Exit(1)
	}
	for _, step := range steps {
		if err := step.run(dir); err != nil {
			fmt.Printf("FAIL %s: %v\n", step.name, err)
			os.Exit(1)
		}
	}
	fmt.Printf("files: ok %d steps\n", len(steps))
}

func createAndRead(dir string) error {
	name := filepath.Join(dir, "a.txt")
	want := bytes.Repeat([]byte("0123456789abcdef"), 8192)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		return err
	}
	got, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read back %d bytes that differ from the %d written", len(got), len(want))
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() != int64(len(want)) || !info.Mode().IsRegular() {
		return fmt.Errorf("stat says %d bytes, mode %v", info.Size(), info.Mode())
	}
	return nil
}

func seekAndTruncate(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "a.txt"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(20); err != nil {
		return err
	}
	if pos, err := f.Seek(-4, io.SeekEnd); err != nil || pos != 16 {
		return fmt.Errorf("seek to 4 before the end: %d, %v", pos, err)
	}
	if _, err := f.Write([]byte("WXYZ")); err != nil {
		return err
	}
	buf := make([]byte, 8)
	if _, err := f.ReadAt(buf, 12); err != nil {
		return err
	}
	if string(buf) != "cdefWXYZ" {
		return fmt.Errorf("got %q at 12", buf)
	}
	return f.Sync()
}

func appendTo(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "a.txt"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte("!")); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(dir, "a.txt"))
	if err != nil {
		return err
	}
	if want := "0123456789abcdefWXYZ!"; string(got) != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func rename(dir string) error {
	from, to := filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.txt")
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if _, err := os.Stat(from); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the old name still answers: %v", err)
	}
	_, err := os.Stat(to)
	return err
}

func symlink(dir string) error {
	link := filepath.Join(dir, "link")
	if err := os.Symlink("b.txt", link); err != nil {
		return err
	}
	target, err := os.Readlink(link)
	if err != nil {
		return err
	}
	if target != "b.txt" {
		return fmt.Errorf("readlink gives %q", target)
	}
	info, err := os.Lstat(link)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("lstat gives mode %v", info.Mode())
	}
	_, err = os.ReadFile(link)
	return err
}

func directories(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "d/e/f"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "d/e/g"), nil, 0o644); err != nil {
		return err
	}
	var seen []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		seen = append(seen, rel)
		return err
	})
	if err != nil {
		return err
	}
	want := []string{".", "b.txt", "d", "d/e", "d/e/f", "d/e/g", "link"}
	if !slices.Equal(seen, want) {
		return fmt.Errorf("walk saw %s, want %s", strings.Join(seen, " "), strings.Join(want, " "))
	}
	return nil
}

// manyEntries needs more than one fd_readdir call.
func manyEntries(dir string) error {
	const n = 700
	sub := filepath.Join(dir, "many")
	if err := os.Mkdir(sub, 0o755); err != nil {
		return err
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("entry-with-a-long-name-%04d", i)), nil, 0o644); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(sub)
	if err != nil {
		return err
	}
	if len(entries) != n {
		return fmt.Errorf("read %d entries, want %d", len(entries), n)
	}
	return nil
}

func times(dir string) error {
	name := filepath.Join(dir, "b.txt")
	want := time.Unix(1_000_000_000, 123_456_789)
	if err := os.Chtimes(name, want, want); err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.ModTime().Equal(want) {
		return fmt.Errorf("modified %v, want %v", info.ModTime(), want)
	}
	return nil
}

func wantErrors(dir string) error {
	if _, err := os.Open(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open of a missing file: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("mkdir of an existing directory: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "d")); err == nil {
		return errors.New("remove of a full directory succeeded")
	}
	if _, err := os.ReadDir(filepath.Join(dir, "b.txt")); err == nil {
		return errors.New("readdir of a file succeeded")
	}
	return nil
}

func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory is still there: %v", err)
	}
	return nil
}
