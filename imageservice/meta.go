package imageservice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/signature"
)

// record is an image as it is kept on disk. Fields are added, never changed.
type record struct {
	Version        int                `json:"version"`
	ID             string             `json:"id"`
	Tags           []string           `json:"tags,omitempty"`
	Digests        []string           `json:"digests,omitempty"`
	Removed        bool               `json:"removed,omitempty"` // kept for its holders only
	Manifest       string             `json:"manifest"`
	PulledAt       time.Time          `json:"pulledAt"`
	Size           int64              `json:"size"`
	Kind           format.Kind        `json:"kind"`
	Platform       format.Platform    `json:"platform"`
	PlatformReason string             `json:"platformReason,omitempty"`
	Config         format.Config      `json:"config"`
	Annotations    map[string]string  `json:"annotations,omitempty"`
	Module         string             `json:"module,omitempty"`
	Function       string             `json:"function,omitempty"`
	Layers         []string           `json:"layers,omitempty"` // keys, lowest first
	Blobs          []blobRef          `json:"blobs,omitempty"`
	Described      bool               `json:"described,omitempty"` // the configuration lists the layers
	Program        Program            `json:"program"`
	Verdict        *signature.Verdict `json:"verdict,omitempty"` // of the last pull
	// Unsynced is the boot of the machine during which content was written
	// that may not have reached the disk yet; empty when all of it has.
	Unsynced string `json:"unsynced,omitempty"`
}

type blobRef struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

const recordVersion = 1

var bucketImages = []byte("images")

// meta is the metadata file.
type meta struct{ db *bbolt.DB }

func openMeta(path string) (*meta, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 2 * time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("image metadata %s is in use: %w", path, errMetaBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("image metadata %s: %w", path, err)
	}
	m := &meta{db: db}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketImages)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("image metadata %s: %w", path, err)
	}
	return m, nil
}

var errMetaBusy = errors.New("another daemon runs on the same root")

// loadCopy reads the records of a file that a daemon has open, from a copy.
func loadCopy(path string) (records []*record, bad []string, err error) {
	data, err := readQuiet(path)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "cri-wasmer-check-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "meta.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, nil, err
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, nil, fmt.Errorf("read a copy of %s: %w", path, err)
	}
	defer db.Close()
	return (&meta{db: db}).load()
}

// readQuiet reads the file while nothing is committed to it. A transaction
// writes to free pages, and last to one of the first two: as long as these are
// the same, what they lead to is whole.
func readQuiet(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for range 20 {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
		if err != nil {
			return nil, err
		}
		head := make([]byte, 2*os.Getpagesize())
		if n, _ := f.ReadAt(head, 0); n <= len(data) && bytes.Equal(head[:n], data[:n]) {
			return data, nil
		}
	}
	return nil, fmt.Errorf("%s changes all the time: try again", path)
}

// load gives all records, and the ids of those that do not parse.
func (m *meta) load() (records []*record, bad []string, err error) {
	err = m.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketImages).ForEach(func(k, v []byte) error {
			r := &record{}
			if err := json.Unmarshal(v, r); err != nil || r.Version != recordVersion || r.ID != string(k) {
				bad = append(bad, string(k))
				return nil
			}
			records = append(records, r)
			return nil
		})
	})
	return records, bad, err
}

// write stores and deletes records in one transaction.
func (m *meta) write(put []*record, del []string) error {
	err := m.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketImages)
		for _, r := range put {
			data, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := b.Put([]byte(r.ID), data); err != nil {
				return err
			}
		}
		for _, id := range del {
			if err := b.Delete([]byte(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write image metadata: %w", err)
	}
	return nil
}

func (m *meta) close() error { return m.db.Close() }
