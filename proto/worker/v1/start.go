package workerv1

import "fmt"

// Stdio says what one of the guest's standard streams is.
type Stdio uint16

const (
	StdioNull Stdio = iota // at end of file, or discarded
	StdioFD                // the descriptor 0, 1 or 2 of the worker: a pipe, file or terminal
	StdioLog               // stdout and stderr: lines in the CRI log
	StdioPipe              // stdin fed over the control socket
)

// Start is the payload of a plan: what the worker runs once it is inside.
type Start struct {
	ID         string // container id, or the id of the exec
	Args       [][]byte
	Env        [][]byte
	Cwd        string // becomes PWD of the guest when it has none
	Stdin      Stdio
	Stdout     Stdio
	Stderr     Stdio
	Terminal   bool
	StdinOnce  bool
	Command    bool   // of an exec: the ExitRecord goes out on FDSpawn
	MaxProcs   uint32 // GOMAXPROCS; 0: as the runtime finds
	MaxFiles   uint32 // open files of the guest; 0: the default
	Listeners  uint32 // descriptors from FDFirstFree on that are preopened sockets
	EntryPoint string // exported function to call; empty: _start
	Program    string // path of the module in the root filesystem, for messages
	// Dirs are the names of directories that the guest finds open beside its
	// root. Their descriptors are behind those of Listeners.
	Dirs      []string
	TraceSize uint64 // bytes that FDTrace and FDOldTrace may have together
	TraceMark string // begins each line of the trace; empty: nothing
}

const startMagic = 0x31525743 // "CWR1"

// Encode gives the payload.
func (s *Start) Encode() []byte {
	e := encoder{}
	e.u32(startMagic)
	e.str(s.ID)
	e.list(s.Args)
	e.list(s.Env)
	e.str(s.Cwd)
	e.u16(uint16(s.Stdin))
	e.u16(uint16(s.Stdout))
	e.u16(uint16(s.Stderr))
	e.u16(flags(s.Terminal, s.StdinOnce, s.Command))
	e.u32(s.MaxProcs)
	e.u32(s.MaxFiles)
	e.u32(s.Listeners)
	e.str(s.EntryPoint)
	e.str(s.Program)
	e.strs(s.Dirs)
	e.u64(s.TraceSize)
	e.str(s.TraceMark)
	return e.b
}

func flags(bits ...bool) (v uint16) {
	for i, b := range bits {
		if b {
			v |= 1 << i
		}
	}
	return v
}

// DecodeStart reads a payload. Args and Env are views into b.
func DecodeStart(b []byte) (*Start, error) {
	d := decoder{b: b}
	if d.u32() != startMagic {
		return nil, fmt.Errorf("%w: not a start payload", ErrMalformed)
	}
	s := &Start{ID: d.str(), Args: d.list(), Env: d.list(), Cwd: d.str()}
	s.Stdin, s.Stdout, s.Stderr = Stdio(d.u16()), Stdio(d.u16()), Stdio(d.u16())
	f := d.u16()
	s.Terminal, s.StdinOnce, s.Command = f&1 != 0, f&2 != 0, f&4 != 0
	if f > 7 {
		d.fail("unknown flag")
	}
	s.MaxProcs, s.MaxFiles, s.Listeners = d.u32(), d.u32(), d.u32()
	s.EntryPoint, s.Program = d.str(), d.str()
	s.Dirs = d.strs()
	s.TraceSize, s.TraceMark = d.u64(), d.str()
	if err := d.done(); err != nil {
		return nil, err
	}
	return s, nil
}
