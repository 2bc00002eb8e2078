package sandbox

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// EventKind is what happened to a pod or container.
type EventKind string

const (
	EventCreated EventKind = "created"
	EventStarted EventKind = "started"
	EventStopped EventKind = "stopped"
	EventDeleted EventKind = "deleted"
)

// Event is something that happened to a pod or container, and how its pod was
// right then.
type Event struct {
	Kind       EventKind
	ID         string // of the container, or of the pod
	Time       time.Time
	Pod        PodStatus
	Containers []ContainerStatus // of the pod, the oldest first
}

// maxPendingEvents is how far a subscriber may lag behind.
const maxPendingEvents = 1024

// Subscription gets the events from its beginning on, in the order in which
// they happened to each object. Safe for concurrent use.
type Subscription struct {
	hub    *hub
	events chan Event
	err    error // set before events is closed
}

// Events is closed when the subscription has ended; Err says why.
func (s *Subscription) Events() <-chan Event { return s.events }

// Err is valid once Events is closed. It is of kind ErrUnavailable for a
// subscriber that was too slow, and nil after Close.
func (s *Subscription) Err() error { return s.err }

// Close ends the subscription.
func (s *Subscription) Close() { s.hub.end(s, nil) }

// hub hands out events. A subscriber that does not take its events loses its
// subscription: it never makes anybody wait. The zero value is ready.
type hub struct {
	mu          sync.Mutex
	subscribers map[*Subscription]struct{}
}

func (h *hub) subscribe() *Subscription {
	s := &Subscription{hub: h, events: make(chan Event, maxPendingEvents)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers == nil {
		h.subscribers = map[*Subscription]struct{}{}
	}
	h.subscribers[s] = struct{}{}
	return s
}

func (h *hub) end(s *Subscription, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endLocked(s, why)
}

func (h *hub) endLocked(s *Subscription, why error) {
	if _, there := h.subscribers[s]; !there {
		return
	}
	delete(h.subscribers, s)
	s.err = why
	close(s.events)
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscribers)
}

func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		select {
		case s.events <- e:
		default:
			h.endLocked(s, fmt.Errorf("subscriber did not take its events, %d of them wait: subscribe again and list what there is: %w", maxPendingEvents, ErrUnavailable))
		}
	}
}

// Subscribers counts the subscriptions.
func (m *Manager) Subscribers() int { return m.events.count() }

// Subscribe begins to give events. The caller closes the subscription.
func (m *Manager) Subscribe() *Subscription { return m.events.subscribe() }

// announce tells subscribers what has just happened. The caller holds the op of
// the object, so that its events keep their order.
func (m *Manager) announce(kind EventKind, id string, p *Pod) {
	if p == nil || m.events.count() == 0 {
		return
	}
	e := Event{Kind: kind, ID: id, Time: time.Now(), Pod: p.Status()}
	containers := m.containersOf(p.id)
	slices.SortFunc(containers, func(a, b *Container) int { return a.created.Compare(b.created) })
	for _, c := range containers {
		e.Containers = append(e.Containers, c.Status())
	}
	m.events.publish(e)
}

// announceContainer is announce for a container.
func (m *Manager) announceContainer(kind EventKind, c *Container) {
	m.mu.Lock()
	p := m.pods[c.podID]
	m.mu.Unlock()
	m.announce(kind, c.id, p)
}
