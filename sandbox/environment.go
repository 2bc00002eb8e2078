package sandbox

// environment is a list of variables in which a later one replaces an earlier
// one of the same name, in its place.
type environment struct {
	list  []EnvVar
	index map[string]int
}

func newEnvironment() *environment { return &environment{index: map[string]int{}} }

func (e *environment) add(key string, value []byte) {
	if i, ok := e.index[key]; ok {
		e.list[i].Value = value
		return
	}
	e.index[key] = len(e.list)
	e.list = append(e.list, EnvVar{Key: key, Value: value})
}

func (e environment) get(key string) []byte {
	for _, v := range e.list {
		if v.Key == key {
			return v.Value
		}
	}
	return nil
}
