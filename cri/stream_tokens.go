package cri

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

const (
	tokenLife = time.Minute
	maxTokens = 1000 // not yet used
)

// tokens keeps requests until the client comes for their streams. The zero
// value is ready. Safe for concurrent use.
type tokens struct {
	mu      sync.Mutex
	pending map[string]pendingRequest
}

type pendingRequest struct {
	request any
	expires time.Time
}

// add keeps a request and gives its token. The error is of kind ErrUnavailable.
func (t *tokens) add(request any) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for token, p := range t.pending {
		if now.After(p.expires) {
			delete(t.pending, token)
		}
	}
	if len(t.pending) >= maxTokens {
		return "", fmt.Errorf("%d streaming requests wait for their clients: %w", maxTokens, sandbox.ErrUnavailable)
	}
	if t.pending == nil {
		t.pending = map[string]pendingRequest{}
	}
	token := rand.Text()
	t.pending[token] = pendingRequest{request, now.Add(tokenLife)}
	return token, nil
}

// take gives the request of a token, once; nil when there is none.
func (t *tokens) take(token string) any {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.pending[token]
	delete(t.pending, token)
	if !ok || time.Now().After(p.expires) {
		return nil
	}
	return p.request
}
