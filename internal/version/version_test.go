package version

import "testing"

func TestOnlyDevelopmentVersionsCarryTheCommit(t *testing.T) {
	tests := []struct {
		name, version, commit, want string
	}{
		{"development build", "0.1.0-dev", "1a2b3c", "0.1.0-dev+1a2b3c"},
		{"development build outside a repository", "0.1.0-dev", "", "0.1.0-dev"},
		{"release", "1.2.3", "1a2b3c", "1.2.3"},
		{"short version", "1", "1a2b3c", "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := full(tt.version, tt.commit); got != tt.want {
				t.Errorf("full(%q, %q) = %q, want %q", tt.version, tt.commit, got, tt.want)
			}
		})
	}
}

func TestEveryBuildHasAVersion(t *testing.T) {
	got := Get()
	if got.Version == "" || got.Go == "" || got.Platform == "" {
		t.Errorf("Get() = %+v, want version, go and platform set", got)
	}
}
