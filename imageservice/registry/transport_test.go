package registry

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestChangedCertificatesAreReadAgain(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var tr transports
	h := &Host{Addr: "r.example.com", CA: []string{ca}}
	first, err := tr.get(h)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tr.get(h); err != nil || again != first {
		t.Errorf("the same settings lead to another transport: %v", err)
	}
	if err := os.Chtimes(ca, time.Time{}, time.Unix(1700000000, 0)); err != nil {
		t.Fatal(err)
	}
	if again, err := tr.get(h); err != nil || again == first {
		t.Errorf("a changed file leads to the old transport: %v", err)
	}
	if len(tr.byKey) != 1 {
		t.Errorf("%d transports are kept for one host", len(tr.byKey))
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.get(h); err == nil {
		t.Error("no error for a file that is gone")
	}
}
