package sandbox

import (
	"errors"
	"testing"
)

func TestSlowSubscriberIsLeftBehind(t *testing.T) {
	var h hub
	slow, quick := h.subscribe(), h.subscribe()
	for range maxPendingEvents + 1 {
		h.publish(Event{Kind: EventCreated})
		<-quick.Events()
	}
	taken := 0
	for range slow.Events() {
		taken++
	}
	if taken != maxPendingEvents || !errors.Is(slow.Err(), ErrUnavailable) {
		t.Errorf("slow one got %d events and %v, want %d and ErrUnavailable", taken, slow.Err(), maxPendingEvents)
	}
	h.publish(Event{Kind: EventDeleted})
	if e := <-quick.Events(); e.Kind != EventDeleted {
		t.Errorf("quick one got %v", e)
	}
	quick.Close()
	quick.Close()
	if _, open := <-quick.Events(); open || quick.Err() != nil || h.count() != 0 {
		t.Errorf("after Close: open %t, %v, %d subscribers", open, quick.Err(), h.count())
	}
	h.publish(Event{}) // to nobody
}
