package record

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

type fact struct{ Name string }

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// all loads every record.
func all(t *testing.T, s *Store) map[string]fact {
	t.Helper()
	got := map[string]fact{}
	err := s.Load(func(id string, data []byte) error {
		var f fact
		err := json.Unmarshal(data, &f)
		got[id] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRecordsComeBack(t *testing.T) {
	s, _ := open(t)
	for _, id := range []string{"a", "b"} {
		if err := s.Save(id, fact{"first"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Save("a", fact{"second"}), s.Delete("b"), s.Delete("b")); err != nil {
		t.Fatal(err)
	}
	if got := all(t, s); len(got) != 1 || got["a"].Name != "second" {
		t.Errorf("records = %v", got)
	}
}

func TestUnfinishedWriteIsForgotten(t *testing.T) {
	s, dir := open(t)
	if err := os.WriteFile(filepath.Join(dir, tempPrefix+"a"), []byte(`{"vers`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := all(t, s); len(got) != 0 {
		t.Errorf("records = %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, tempPrefix+"a")); !os.IsNotExist(err) {
		t.Errorf("the temporary file stays: %v", err)
	}
}

func TestBadRecordsArePutAside(t *testing.T) {
	for name, text := range map[string]string{
		"garbage": "garbage", "empty": "", "newer version": `{"version":99,"data":{}}`, "refused by the reader": `{"version":1,"data":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := open(t)
			if err := errors.Join(s.Save("good", fact{"x"}), os.WriteFile(filepath.Join(dir, "bad.json"), []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
			if got := all(t, s); got["good"].Name != "x" {
				t.Errorf("records = %v", got)
			}
			if b, err := os.ReadFile(filepath.Join(dir, quarantine, "bad.json")); err != nil || string(b) != text {
				t.Errorf("quarantine holds %q, %v", b, err)
			}
			if got := all(t, s); len(got) != 1 {
				t.Errorf("records later = %v", got)
			}
		})
	}
}
