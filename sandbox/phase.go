package sandbox

// Phase is where a pod or container is in its life.
//
//	pod:        creating --> ready --> notReady --> removed
//	container:  creating --> created --> running --> exited --> removed
//	                            `-----(start fails)---^
type Phase string

const (
	PhaseCreating Phase = "creating" // not visible to clients
	PhaseReady    Phase = "ready"
	PhaseNotReady Phase = "notReady"
	PhaseCreated  Phase = "created"
	PhaseRunning  Phase = "running"
	PhaseExited   Phase = "exited"
	PhaseRemoved  Phase = "removed"
)

var edges = map[Phase][]Phase{
	PhaseCreating: {PhaseReady, PhaseNotReady, PhaseCreated, PhaseRemoved},
	PhaseReady:    {PhaseNotReady},
	PhaseNotReady: {PhaseNotReady, PhaseRemoved},
	PhaseCreated:  {PhaseRunning, PhaseExited, PhaseRemoved},
	PhaseRunning:  {PhaseExited},
	PhaseExited:   {PhaseRemoved},
}

// To checks an edge. The error is a *TransitionError.
func (p Phase) To(next Phase, object string) error {
	for _, n := range edges[p] {
		if n == next {
			return nil
		}
	}
	return &TransitionError{Object: object, From: p, To: next}
}
