package selinux

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"
)

// host is what Labels asks of the node.
type host interface {
	enabled() bool
	self() (string, error)
	// labels gives those of a container with these options, and reserves
	// their level.
	labels(options []string) (process, mount string, err error)
	reserve(label string) error
	release(label string)
	// check refuses what the policy does not know.
	check(label string) error
	// transition is the label of a process that executes a file.
	transition(process, file string) (string, error)
	// may says whether the policy permits a process all that is asked for.
	may(process string, asks ...access) (bool, error)
	relabel(path, label string) error
	label(f *os.File) (string, error)
	labelOf(path string) (string, error)
	setLabel(f *os.File, label string) error
}

// selinuxFS is where the kernel answers about its policy.
const selinuxFS = "/sys/fs/selinux"

// node is the real one.
type node struct{}

func (node) enabled() bool             { return selinux.GetEnabled() }
func (node) self() (string, error)     { return selinux.CurrentLabel() }
func (node) reserve(l string) error    { return selinux.ReserveLabelV2(l) }
func (node) release(l string)          { selinux.ReleaseLabel(l) }
func (node) check(l string) error      { return selinux.SecurityCheckContext(l) }
func (node) relabel(p, l string) error { return label.Relabel(p, l, false) }

func (node) labelOf(path string) (string, error) { return selinux.FileLabel(path) }

func (node) labels(options []string) (process, mount string, err error) {
	return label.InitLabels(options)
}

func (node) transition(process, file string) (string, error) {
	return selinux.ComputeCreateContext(process, file, "process")
}

// access is something that is done to an object of some label and class.
type access struct {
	target, class string
	permissions   []string
}

func (node) may(process string, asks ...access) (bool, error) {
	if selinux.EnforceMode() != selinux.Enforcing {
		return true, nil
	}
	for _, a := range asks {
		if ok, err := permitted(selinuxFS, process, a); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// permitted asks the policy. root is the selinuxfs.
func permitted(root, process string, a access) (bool, error) {
	class := filepath.Join(root, "class", a.class)
	index, err := readNumber(filepath.Join(class, "index"), 1<<16-1)
	if err != nil {
		return false, err
	}
	var wanted uint32
	for _, p := range a.permissions {
		bit, err := readNumber(filepath.Join(class, "perms", p), 32)
		if err != nil {
			return false, err
		}
		wanted |= 1 << (bit - 1)
	}
	answer, err := ask(filepath.Join(root, "access"), fmt.Sprintf("%s %s %d %x", process, a.target, index, wanted))
	if err != nil {
		return false, err
	}
	return decide(answer, wanted)
}

// readNumber reads a number from 1 to most.
func readNumber(file string, most uint64) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err == nil && (n < 1 || n > most) {
		err = strconv.ErrRange
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	return n, nil
}

// decide reads "allowed decided auditallow auditdeny sequence flags".
func decide(answer string, wanted uint32) (bool, error) {
	const permissive = 1 // the domain alone
	var allowed, decided, auditAllow, auditDeny, flags uint32
	var sequence uint
	if _, err := fmt.Sscanf(answer, "%x %x %x %x %d %x", &allowed, &decided, &auditAllow, &auditDeny, &sequence, &flags); err != nil {
		return false, fmt.Errorf("answer %q of SELinux: %w", answer, err)
	}
	return allowed&wanted == wanted || flags&permissive != 0, nil
}

// ask writes a question to a file of selinuxfs, which answers on the same open
// file.
func ask(path, question string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteString(question); err != nil {
		return "", err
	}
	answer := make([]byte, 4096)
	n, err := f.ReadAt(answer, 0)
	if n == 0 && err != nil {
		return "", err
	}
	return strings.TrimRight(string(answer[:n]), "\x00\n"), nil
}

const attribute = "security.selinux"

// label asks the file itself, whose path may lead to another one by now.
func (node) label(f *os.File) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Fgetxattr(int(f.Fd()), attribute, buf)
	if err != nil {
		return "", os.NewSyscallError("fgetxattr", err)
	}
	return strings.TrimRight(string(buf[:n]), "\x00"), nil
}

func (node) setLabel(f *os.File, label string) error {
	return os.NewSyscallError("fsetxattr", unix.Fsetxattr(int(f.Fd()), attribute, []byte(label), 0))
}
