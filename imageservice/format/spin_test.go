package format

import (
	"errors"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

func TestSpinApplicationsAreDescribed(t *testing.T) {
	list, err := DescribeSpin([]byte(`{"metadata":{"name":"a","version":"1"},"components":[{"id":"c","source":{"digest":"sha256:x"},"files":[{},{}]}],
	 "triggers":[{"trigger_type":"http","trigger_config":{"component":"c","route":"/r"}},{"trigger_type":"http","trigger_config":{"component":"d","route":{"private":true}}},{"trigger_type":"redis"}]}`))
	want := "application a 1; component c: sha256:x, 2 files; trigger http for component c at /r; trigger http for component d; trigger redis for component "
	if got := strings.Join(list, "; "); err != nil || got != want {
		t.Errorf("described as %q, %v, want %q", got, err, want)
	}
	if _, err := DescribeSpin([]byte("{")); !errors.Is(err, imgerr.ErrMalformed) {
		t.Errorf("broken: %v", err)
	}
}

func FuzzDescribeSpin(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a"},"components":[{"id":"c"}],"triggers":[{"trigger_type":"http","trigger_config":{"route":"/"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := DescribeSpin(data)
		if err != nil && !errors.Is(err, imgerr.ErrMalformed) {
			t.Fatalf("error without a kind: %v", err)
		}
		for _, text := range list {
			if len(text) > 310 {
				t.Fatalf("line of %d bytes", len(text))
			}
		}
	})
}
