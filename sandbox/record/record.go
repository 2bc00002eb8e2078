// Package record keeps one JSON file per pod and container.
//
// A file is written beside its name and renamed, so that it is whole or not
// there at all. It carries a version; what cannot be read is moved to the
// quarantine directory, and does not stop anybody from starting.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

const (
	version    = 1
	suffix     = ".json"
	tempPrefix = ".new-"
	quarantine = "quarantine"
)

// Store implements sandbox.Records in one directory. Safe for concurrent use
// on different ids.
type Store struct {
	dir string
	log *slog.Logger
}

var _ sandbox.Records = (*Store)(nil)

// Open makes the directory if it must.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, quarantine), 0o700); err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	return &Store{dir: dir, log: log}, nil
}

type envelope struct {
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// Save implements sandbox.Records.
func (s *Store) Save(id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %s: %w", id, err)
	}
	b, err := json.Marshal(envelope{version, data})
	if err != nil {
		return fmt.Errorf("record %s: %w", id, err)
	}
	temp := filepath.Join(s.dir, tempPrefix+id)
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return errors.Join(fmt.Errorf("write record: %w", err), ignoreMissing(os.Remove(temp)))
	}
	if err := os.Rename(temp, s.path(id)); err != nil {
		return errors.Join(fmt.Errorf("write record: %w", err), ignoreMissing(os.Remove(temp)))
	}
	return nil
}

// Delete implements sandbox.Records.
func (s *Store) Delete(id string) error { return ignoreMissing(os.Remove(s.path(id))) }

// Load implements sandbox.Records.
func (s *Store) Load(read func(id string, data []byte) error) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil {
				return fmt.Errorf("remove unfinished record: %w", err)
			}
			continue
		}
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || e.IsDir() {
			continue
		}
		if err := s.load(id, read); err != nil {
			if err := s.putAside(id, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) load(id string, read func(id string, data []byte) error) error {
	b, err := os.ReadFile(s.path(id))
	if err != nil {
		return err
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	if e.Version != version {
		return fmt.Errorf("version %d, this daemon reads %d", e.Version, version)
	}
	return read(id, e.Data)
}

func (s *Store) putAside(id string, why error) error {
	to := filepath.Join(s.dir, quarantine, id+suffix)
	s.log.Error("record cannot be read and is put aside", "record", s.path(id), "quarantine", to, "error", why)
	if err := os.Rename(s.path(id), to); err != nil {
		return fmt.Errorf("put bad record aside: %w", err)
	}
	return nil
}

func (s *Store) path(id string) string { return filepath.Join(s.dir, id+suffix) }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
