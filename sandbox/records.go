package sandbox

// Records keeps the facts about one kind of object on disk. Safe for
// concurrent use on different ids.
type Records interface {
	// Save replaces the record of id at once and whole.
	Save(id string, v any) error
	// Delete removes it; nil when it is gone.
	Delete(id string) error
	// Load gives every record to read. One that read refuses, or that is
	// damaged, is put aside and does not end the loading.
	Load(read func(id string, data []byte) error) error
}
