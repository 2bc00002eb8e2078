package text

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

func md5sum(c *applet.Ctx, args []string) int    { return sums(c, args, md5.New) }
func sha1sum(c *applet.Ctx, args []string) int   { return sums(c, args, sha1.New) }
func sha256sum(c *applet.Ctx, args []string) int { return sums(c, args, sha256.New) }
func sha512sum(c *applet.Ctx, args []string) int { return sums(c, args, sha512.New) }

func sums(c *applet.Ctx, args []string, make func() hash.Hash) int {
	o, operands, ok := c.Opts(args, "csbt")
	if !ok {
		return applet.ExitUsage
	}
	bad := 0
	code := c.EachInput(operands, func(name string, r io.Reader) error {
		if o.Has('c') {
			return eachLine(r, func(line []byte, _ bool) bool {
				bad += checkSum(c, string(line), make, o.Has('s'))
				return true
			})
		}
		sum, err := sumOf(r, make)
		if err == nil {
			c.Out.Println(sum + "  " + name)
		}
		return err
	})
	return max(code, min(bad, 1))
}

func sumOf(r io.Reader, make func() hash.Hash) (string, error) {
	h := make()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

// checkSum checks one line of a list and gives 1 when it is wrong.
func checkSum(c *applet.Ctx, line string, make func() hash.Hash, silent bool) int {
	want, name, ok := strings.Cut(line, " ")
	if !ok {
		return 0
	}
	name = strings.TrimLeft(name, " *")
	got := ""
	r, err := c.Open(name)
	if err == nil {
		got, err = sumOf(r, make)
		r.Close()
	}
	verdict := "OK"
	if err != nil || got != strings.ToLower(want) {
		verdict = "FAILED"
	}
	if err != nil {
		c.Fail(name, err)
	}
	if !silent {
		c.Out.Println(name + ": " + verdict)
	}
	return btoi(verdict != "OK")
}

func base64Main(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{Short: "diw:", Long: map[string]byte{"decode": 'd', "wrap": 'w'}})
	if !ok {
		return applet.ExitUsage
	}
	width, ok := c.Number(o.Value('w', "76"))
	if !ok {
		return 1
	}
	return c.EachInput(operands, func(_ string, r io.Reader) error {
		if o.Has('d') {
			_, err := io.Copy(c.Out, base64.NewDecoder(base64.StdEncoding, r))
			if corrupt := base64.CorruptInputError(0); errors.As(err, &corrupt) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errors.New("invalid input")
			}
			return err
		}
		w := &wrapper{w: c.Out, width: int(width)}
		e := base64.NewEncoder(base64.StdEncoding, w)
		if _, err := io.Copy(e, r); err != nil {
			return err
		}
		e.Close()
		if w.column > 0 && w.width > 0 {
			c.Out.WriteByte('\n')
		}
		return nil
	})
}

// wrapper breaks lines; width 0 means never.
type wrapper struct {
	w             *applet.Output
	width, column int
}

func (w *wrapper) Write(p []byte) (int, error) {
	for _, b := range p {
		w.w.WriteByte(b)
		if w.column++; w.width > 0 && w.column == w.width {
			w.w.WriteByte('\n')
			w.column = 0
		}
	}
	return len(p), nil
}
