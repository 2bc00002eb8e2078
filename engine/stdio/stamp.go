package stdio

import "time"

const stampLayout = "2006-01-02T15:04:05.000000000Z"

// stamp is a time as log lines have it. The date changes once a second, so
// that mostly only the nine digits behind the point are written.
type stamp struct {
	sec  int64
	text [len(stampLayout)]byte
}

func (s *stamp) set(t time.Time) {
	if sec := t.Unix(); sec != s.sec || s.text[0] == 0 {
		s.sec = sec
		t.UTC().AppendFormat(s.text[:0], stampLayout)
		return
	}
	ns := t.Nanosecond()
	for i := len(stampLayout) - 2; i > len("2006-01-02T15:04:05"); i-- {
		s.text[i] = byte('0' + ns%10)
		ns /= 10
	}
}
