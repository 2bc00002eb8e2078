package wasi

// Table numbers the open files of a guest, as Unix does: a new one gets the
// lowest number that is free. The zero value is empty, and full; see Limit.
type Table[F any] struct {
	files  []*F // nil where nothing is open
	lowest int  // no number below it is free
	open   int
	max    int
}

// Limit sets how many files can be open.
func (t *Table[F]) Limit(n int) { t.max = n }

// Get finds a file, nil when the number is free.
func (t *Table[F]) Get(fd uint32) *F {
	if uint64(fd) >= uint64(len(t.files)) {
		return nil
	}
	return t.files[fd]
}

// Full says whether Insert would give EMFILE.
func (t *Table[F]) Full() bool { return t.open >= t.max }

// Insert gives a file a number.
func (t *Table[F]) Insert(f *F) (uint32, Errno) {
	if t.Full() {
		return 0, EMFILE
	}
	t.open++
	for ; t.lowest < len(t.files); t.lowest++ {
		if t.files[t.lowest] == nil {
			t.files[t.lowest] = f
			return uint32(t.lowest), 0
		}
	}
	t.files = append(t.files, f)
	return uint32(len(t.files) - 1), 0
}

// Remove frees a number that is taken.
func (t *Table[F]) Remove(fd uint32) {
	t.files[fd] = nil
	t.open--
	t.lowest = min(t.lowest, int(fd))
}

// Renumber moves a file onto the number of another one, which it gives back.
// Both are open, and not the same.
func (t *Table[F]) Renumber(from, to uint32) (old *F) {
	old = t.files[to]
	t.files[to] = t.files[from]
	t.Remove(from)
	return old
}

// All gives the open files in the order of their numbers until yield returns
// false.
func (t *Table[F]) All(yield func(uint32, *F) bool) {
	for fd, f := range t.files {
		if f != nil && !yield(uint32(fd), f) {
			return
		}
	}
}
