// Package imgerr holds the kinds of error that the image service and its parts
// return, and the one type that carries them.
//
// A caller asks for a kind with errors.Is. The text names the image, the
// registry host and what can be done about it; it never holds a credential.
package imgerr

import (
	"context"
	"errors"
	"strings"
	"syscall"
)

// Kinds of error. Cancellation and deadlines keep context.Canceled and
// context.DeadlineExceeded as their kind.
var (
	// ErrNotFound: no such image here, or no such repository, tag or digest
	// in the registry.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: the registry wants other credentials.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnavailable: no host of the registry gave a usable answer. The text
	// starts with "RegistryUnavailable", for which the kubelet looks.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrDigestMismatch: content differs from the digest or size by which it
	// was asked for.
	ErrDigestMismatch = errors.New("digest mismatch")
	// ErrUnsupported: the content is sound, and nothing that we can handle.
	ErrUnsupported = errors.New("unsupported image")
	// ErrMalformed: a manifest, configuration or layer does not parse.
	ErrMalformed = errors.New("malformed image")
	// ErrUnsafe: a layer holds an entry that reaches outside of it, or a
	// device.
	ErrUnsafe = errors.New("unsafe layer")
	// ErrLimit: the content exceeds a configured limit.
	ErrLimit = errors.New("limit exceeded")
	// ErrInvalidReference: the name of the image does not parse.
	ErrInvalidReference = errors.New("invalid reference")
	// ErrNoSpace: the disk is full.
	ErrNoSpace = errors.New("no space left for images")
	// ErrSignature: a signature policy refuses the image. The text starts
	// with "SignatureValidationFailed", for which the kubelet looks.
	ErrSignature = errors.New("signature validation failed")
	// ErrClosed: the service is closed.
	ErrClosed = errors.New("image service is closed")
)

// Error is an error about one image. The zero fields are left out of its text.
type Error struct {
	Kind   error  // one of the kinds above
	Image  string // as the user knows it
	Host   string // registry host that answered
	Status int    // of its HTTP answer, when that is the reason; not told
	Text   string // what is wrong
	Remedy string // what to do
	Err    error  // cause
}

// prefixes start the texts for which the kubelet looks.
var prefixes = map[error]string{ErrUnavailable: "RegistryUnavailable", ErrSignature: "SignatureValidationFailed"}

// Error gives "image NAME: registry HOST: text: cause: remedy".
func (e *Error) Error() string {
	var parts []string
	prefix := prefixes[e.Kind]
	if prefix != "" {
		parts = append(parts, prefix)
	}
	if e.Image != "" {
		parts = append(parts, "image "+e.Image)
	}
	if e.Host != "" {
		parts = append(parts, "registry "+e.Host)
	}
	if e.Text != "" {
		parts = append(parts, e.Text)
	}
	if e.Err != nil {
		text := e.Err.Error()
		if prefix != "" { // a cause of the same kind says it again
			text = strings.ReplaceAll(text, prefix+": ", "")
		}
		parts = append(parts, text)
	} else if e.Text == "" && e.Kind != nil {
		parts = append(parts, e.Kind.Error())
	}
	s := strings.Join(parts, ": ")
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// Unwrap gives kind and cause, so that errors.Is finds both.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

var kinds = []error{
	ErrSignature, ErrInvalidReference, ErrUnauthorized, ErrDigestMismatch, ErrUnsafe, ErrLimit,
	ErrUnsupported, ErrMalformed, ErrNoSpace, ErrUnavailable, ErrNotFound, ErrClosed,
}

// KindOf gives the kind of err, or nil when it has none: an error of ours that
// nobody foresaw.
func KindOf(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Kind != nil {
		return e.Kind
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrNoSpace
	}
	for _, k := range kinds {
		if errors.Is(err, k) {
			return k
		}
	}
	return nil
}

// About adds the image to err. An error of type Error that has none yet is
// copied and completed, another one is wrapped with the kind that it has.
func About(image string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		if e.Image != "" {
			return e
		}
		c := *e
		c.Image = image
		return &c
	}
	kind := KindOf(err)
	if kind == nil {
		kind = errInternal
	}
	e := &Error{Kind: kind, Image: image, Err: err}
	if kind == ErrNoSpace {
		e.Remedy = "free space on the image filesystem, for example by removing images"
	}
	return e
}

var errInternal = errors.New("image service failed")
