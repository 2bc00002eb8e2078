package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

func TestReferrersAreFoundByAPIOrTag(t *testing.T) {
	const index = `{"schemaVersion":2,"manifests":[]}`
	target := digest([]byte("target"))
	tag := strings.Replace(target, ":", "-", 1)
	for name, tc := range map[string]struct {
		api, tag int // status; 0 means the index
		want     string
		kind     error
	}{
		"by the API":                  {0, 404, index, nil},
		"by the tag":                  {404, 0, index, nil},
		"API that is not allowed":     {405, 0, index, nil},
		"API that is not understood":  {400, 0, index, nil},
		"nothing refers to it":        {404, 404, "", nil},
		"a registry that breaks":      {503, 0, "", imgerr.ErrUnavailable},
		"a registry that lets nobody": {403, 0, "", imgerr.ErrUnauthorized},
		"a tag that lets nobody in":   {404, 403, "", imgerr.ErrUnauthorized},
	} {
		f := newFake(t, false)
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			status := -1
			switch {
			case strings.HasSuffix(r.URL.Path, "/referrers/"+target):
				status = tc.api
			case strings.HasSuffix(r.URL.Path, "/manifests/"+tag):
				status = tc.tag
			}
			switch status {
			case -1:
				return false
			case 0:
				w.Header().Set("Content-Type", TypeOCIIndex)
				io.WriteString(w, index)
			default:
				w.WriteHeader(status)
			}
			return true
		}
		m, err := session(t, newClient(t), f.host, Auth{}).Referrers(context.Background(), target)
		switch {
		case !errors.Is(err, tc.kind) || (tc.kind == nil && err != nil):
			t.Errorf("%s: %v, want %v", name, err, tc.kind)
		case (m != nil) != (tc.want != ""), m != nil && string(m.Data) != tc.want:
			t.Errorf("%s: %+v, want %q", name, m, tc.want)
		}
	}
}
