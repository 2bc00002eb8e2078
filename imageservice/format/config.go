package format

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Config is what of an image's configuration matters to run it.
type Config struct {
	Platform   Platform          `json:"platform"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        []string          `json:"env,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	User       string            `json:"user,omitempty"`
	StopSignal string            `json:"stopSignal,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Volumes    []string          `json:"volumes,omitempty"`
	DiffIDs    []string          `json:"diffIDs,omitempty"`
	// Image says that this is an image configuration, and not something else
	// under its media type.
	Image bool `json:"image,omitempty"`
}

// ParseConfig reads the configuration blob. What is not an image configuration
// gives a Config that says so; only broken JSON where the media type announces
// one is an error (ErrMalformed).
func ParseConfig(mediaType string, data []byte) (Config, error) {
	var raw struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
		RootFS       *struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		Config struct {
			Entrypoint []string
			Cmd        []string
			Env        []string
			WorkingDir string
			User       string
			StopSignal string
			Labels     map[string]string
			Volumes    map[string]json.RawMessage
		} `json:"config"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		if !IsImageConfigType(mediaType) {
			return Config{}, nil
		}
		return Config{}, malformed("image configuration is not valid JSON: %v", err)
	}
	c := Config{Platform: Platform{OS: raw.OS, Architecture: raw.Architecture, Variant: raw.Variant}}
	if !IsImageConfigType(mediaType) {
		return c, nil
	}
	c.Entrypoint, c.Cmd, c.Env = raw.Config.Entrypoint, raw.Config.Cmd, raw.Config.Env
	c.WorkingDir, c.User, c.StopSignal, c.Labels = raw.Config.WorkingDir, raw.Config.User, raw.Config.StopSignal, raw.Config.Labels
	for v := range raw.Config.Volumes {
		c.Volumes = append(c.Volumes, v)
	}
	if raw.RootFS != nil {
		c.Image, c.DiffIDs = true, raw.RootFS.DiffIDs
	}
	for i, d := range c.DiffIDs {
		if !digestRE.MatchString(d) {
			return c, malformed("diff id %d is not a sha256 digest", i)
		}
	}
	return c, nil
}

// Identity splits the User of a configuration as the CRI wants it: a number
// is a uid, anything else a name, and the group is left out.
func Identity(user string) (uid *int64, name string) {
	user, _, _ = strings.Cut(user, ":")
	if user == "" {
		return nil, ""
	}
	if n, err := strconv.ParseInt(user, 10, 64); err == nil {
		return &n, ""
	}
	return nil, user
}
