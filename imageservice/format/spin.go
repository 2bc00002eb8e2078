package format

import (
	"encoding/json"
	"fmt"
	"strings"
)

// SpinConfig gives the index of the layer with the locked application of Spin,
// negative when there is none.
func SpinConfig(d *Document) int {
	for i, l := range d.Layers {
		if lower(l.MediaType) == typeSpinConfig {
			return i
		}
	}
	return -1
}

const maxSpinParts = 100 // components or triggers that are told

// DescribeSpin says in words what a locked application of Spin consists of.
// What does not parse is an error of kind ErrMalformed.
func DescribeSpin(data []byte) ([]string, error) {
	var app struct {
		Metadata struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"metadata"`
		Triggers []struct {
			Type   string `json:"trigger_type"`
			Config struct {
				Component string          `json:"component"`
				Route     json.RawMessage `json:"route"`
			} `json:"trigger_config"`
		} `json:"triggers"`
		Components []struct {
			ID     string `json:"id"`
			Source struct {
				Digest string `json:"digest"`
			} `json:"source"`
			Files []json.RawMessage `json:"files"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &app); err != nil {
		return nil, malformed("locked Spin application is not valid JSON: %v", err)
	}
	list := []string{strings.TrimSpace(fmt.Sprintf("application %s %s", app.Metadata.Name, app.Metadata.Version))}
	for _, c := range app.Components[:min(len(app.Components), maxSpinParts)] {
		list = append(list, fmt.Sprintf("component %s: %s, %d files", c.ID, c.Source.Digest, len(c.Files)))
	}
	for _, t := range app.Triggers[:min(len(app.Triggers), maxSpinParts)] {
		text := fmt.Sprintf("trigger %s for component %s", t.Type, t.Config.Component)
		var route string // of HTTP; other forms mean that it is private
		if json.Unmarshal(t.Config.Route, &route) == nil && route != "" {
			text += " at " + route
		}
		list = append(list, text)
	}
	for i, text := range list {
		if len(text) > 300 {
			list[i] = strings.ToValidUTF8(text[:300], "") + "..."
		}
	}
	return list, nil
}
