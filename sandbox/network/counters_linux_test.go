package network

import (
	"slices"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func TestParseCounters(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:1000000001       2    3    4    0     0          0         0      5       6    7    8    0     0       0          0
`
	want := []sandbox.InterfaceCounters{{
		Name: "eth0", RxBytes: 1000000001, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 5, TxPackets: 6, TxErrors: 7, TxDropped: 8,
	}}
	if got := parseCounters([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
