package signature

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/internal/bounded"
	verifyv1 "github.com/cri-wasmer/cri-wasmer/proto/verify/v1"
)

// Config configures a Verifier.
type Config struct {
	Policy  string        // file; empty: no image needs a signature
	Program string        // cri-wasmer-verify
	Timeout time.Duration // of one verdict; 0 means 20 s
}

// Verifier holds images to the policy. Safe for concurrent use.
type Verifier struct {
	cfg   Config
	slots chan struct{}
}

// maxProcesses is how many verdicts are made at a time.
const maxProcesses = 4

// New makes a Verifier; nil when there is no policy. An error is about a policy
// that does not load or a program that is not there.
func New(cfg Config) (*Verifier, error) {
	if cfg.Policy == "" {
		return nil, nil
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 20 * time.Second
	}
	if _, err := Load(cfg.Policy); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath(cfg.Program); err != nil {
		return nil, fmt.Errorf("signature policy %s needs the program that verifies: %w", cfg.Policy, err)
	}
	return &Verifier{cfg: cfg, slots: make(chan struct{}, maxProcesses)}, nil
}

// Verdict tells why an image was accepted.
type Verdict struct {
	Rule   string    `json:"rule"`   // prefix
	By     string    `json:"by"`     // key or certificate
	Digest string    `json:"digest"` // what is signed
	At     time.Time `json:"at"`
}

// Check holds the target, to which a name in the repository led, to the policy
// as it is on disk now. It gives nil when the policy wants nothing of it.
// Errors are of kind ErrSignature, or those of fetching signatures.
func (v *Verifier) Check(ctx context.Context, src Source, repository string, target verifyv1.Target) (*Verdict, error) {
	policy, err := Load(v.cfg.Policy)
	if err != nil {
		return nil, refused("%v", err)
	}
	rule := policy.For(repository)
	if rule == nil {
		return nil, nil
	}
	if rule.Require == Reject {
		return nil, refused("%s rejects it", rule)
	}
	found, err := gather(ctx, src, rule.Require, target.Digest)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, withRemedy(refused("%s wants a %s signature, and %s has none", rule, rule.Require, target.Digest), rule)
	}
	resp, err := v.run(ctx, &verifyv1.Request{Version: verifyv1.Version, Repository: repository, Target: target, Demand: rule.demand, Signatures: found})
	if err != nil {
		return nil, err
	}
	if !resp.Accepted {
		return nil, withRemedy(refused("%s wants a %s signature by %s; none of the %d of %s is one: %s",
			rule, rule.Require, rule.who(), len(found), target.Digest, strings.Join(resp.Reasons, "; ")), rule)
	}
	return &Verdict{Rule: rule.Prefix, By: resp.By, Digest: target.Digest, At: time.Now().UTC()}, nil
}

func refused(format string, args ...any) *imgerr.Error {
	return &imgerr.Error{Kind: imgerr.ErrSignature, Text: fmt.Sprintf(format, args...)}
}

func withRemedy(e *imgerr.Error, r *Rule) *imgerr.Error {
	e.Remedy = "sign the image with " + r.Require + ", or change that rule"
	return e
}

// who says who must have signed.
func (r *Rule) who() string {
	if r.Require == Cosign {
		s := strings.Join(r.Keys, " or ")
		if len(r.LogKeys) > 0 {
			s += ", entered in a log"
		}
		return s
	}
	s := "a certificate under " + strings.Join(r.Authorities, " or ")
	if len(r.Identities) > 0 {
		s += " for " + strings.Join(r.Identities, " or ")
	}
	return s
}

// run starts the program, which lives for one verdict: without network, without
// privileges, within a time; it bounds its memory itself.
func (v *Verifier) run(ctx context.Context, req *verifyv1.Request) (*verifyv1.Response, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	input, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, v.cfg.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, v.cfg.Program)
	cmd.Env, cmd.Dir, cmd.WaitDelay = []string{"LANG=C"}, "/", time.Second
	cmd.Stdin = bytes.NewReader(input)
	stdout, stderr := bounded.New(64<<10), bounded.New(1<<10)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	// The kernel sends the death signal when the thread ends that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; another child, between fork and exec, held its output open
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if limited.Err() != nil {
			return nil, refused("no verdict about its signatures within %s", v.cfg.Timeout)
		}
		return nil, refused("%s failed: %v: %s", v.cfg.Program, err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	return answer(stdout.Bytes())
}

const nobody = 65534

func answer(data []byte) (*verifyv1.Response, error) {
	var resp verifyv1.Response
	if err := json.Unmarshal(data, &resp); err != nil {
		return nil, refused("the verdict does not parse: %v", err)
	}
	if resp.Version != verifyv1.Version {
		return nil, refused("cri-wasmer-verify speaks version %d, this daemon %d: install both from one release", resp.Version, verifyv1.Version)
	}
	if resp.Error != "" {
		return nil, &imgerr.Error{Kind: imgerr.ErrSignature, Text: "signatures cannot be judged", Err: errors.New(resp.Error), Remedy: "correct the signature policy"}
	}
	return &resp, nil
}
