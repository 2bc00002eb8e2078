package sandbox

// NamespaceMode says whose namespace a container lives in.
type NamespaceMode string

const (
	NamespacePod       NamespaceMode = "pod"
	NamespaceContainer NamespaceMode = "container"
	NamespaceNode      NamespaceMode = "node"
	NamespaceTarget    NamespaceMode = "target" // of another container: kubectl debug --target
)

// Namespaces are the modes that a security context asks for.
type Namespaces struct {
	Network NamespaceMode `json:"network,omitempty"`
	PID     NamespaceMode `json:"pid,omitempty"` // empty, of a container: as its pod has it
	IPC     NamespaceMode `json:"ipc,omitempty"`
	Target  string        `json:"target,omitempty"` // container id for NamespaceTarget
}

// PodConfig is what RunPodSandbox was asked for.
type PodConfig struct {
	Name         string            `json:"name"`
	Namespace    string            `json:"namespace"`
	UID          string            `json:"uid"`
	Attempt      uint32            `json:"attempt"`
	Hostname     string            `json:"hostname,omitempty"`
	LogDirectory string            `json:"logDirectory,omitempty"`
	DNS          *DNS              `json:"dns,omitempty"` // nil: as the host
	Ports        []PortMapping     `json:"ports,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	CgroupParent string            `json:"cgroupParent,omitempty"`
	Namespaces   Namespaces        `json:"namespaces"`
	UserNS       *UserNS           `json:"userNS,omitempty"` // nil: the host's users
	Sysctls      map[string]string `json:"sysctls,omitempty"`
	Privileged   bool              `json:"privileged,omitempty"`
	User         UserSpec          `json:"user,omitzero"`      // of the init process
	AppArmor     string            `json:"appArmor,omitempty"` // profile; confines containers that name it, too
	SELinux      SELinuxOptions    `json:"seLinux,omitzero"`
	Resources    Resources         `json:"resources,omitzero"` // of all containers, as the kubelet has set them already
	Overhead     Resources         `json:"overhead,omitzero"`  // likewise
	Handler      string            `json:"handler,omitempty"`  // runtime handler as asked
	AskedPorts   []PortMapping     `json:"askedPorts,omitempty"`
}

// EnvVar is one environment variable; its value need not be text.
type EnvVar struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// UserSpec says as whom a container runs; the zero value means as the image
// says.
type UserSpec struct {
	UID                *int64  `json:"uid,omitempty"`
	GID                *int64  `json:"gid,omitempty"`
	Username           string  `json:"username,omitempty"`
	SupplementalGroups []int64 `json:"supplementalGroups,omitempty"`
	StrictGroups       bool    `json:"strictGroups,omitempty"` // policy Strict: not those of /etc/group
}

// User is who a container runs as.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"` // supplementary, the primary one included
	Home   string   `json:"home,omitempty"`
}

// SeccompMode chooses a system call filter.
type SeccompMode string

const (
	SeccompUnconfined SeccompMode = ""
	SeccompDefault    SeccompMode = "default"
	SeccompLocalhost  SeccompMode = "localhost"
)

// Security is the security context of a container.
type Security struct {
	User             UserSpec       `json:"user"`
	Namespaces       Namespaces     `json:"namespaces"`
	UserNS           *UserNS        `json:"userNS,omitempty"`    // as the request has it: the pod's, or nothing
	HostUsers        bool           `json:"hostUsers,omitempty"` // asked for explicitly
	Privileged       bool           `json:"privileged,omitempty"`
	PodPrivileged    bool           `json:"podPrivileged,omitempty"` // the pod has been given privileges since it was made
	ReadonlyRoot     bool           `json:"readonlyRoot,omitempty"`
	NoNewPrivs       bool           `json:"noNewPrivs,omitempty"`
	AddCapabilities  []string       `json:"addCapabilities,omitempty"`
	DropCapabilities []string       `json:"dropCapabilities,omitempty"`
	AddAmbient       []string       `json:"addAmbient,omitempty"`
	Seccomp          SeccompMode    `json:"seccomp,omitempty"`
	SeccompProfile   string         `json:"seccompProfile,omitempty"` // path, for SeccompLocalhost
	AppArmor         string         `json:"appArmor,omitempty"`       // profile; empty: none
	SELinux          SELinuxOptions `json:"seLinux,omitzero"`
	MaskedPaths      []string       `json:"maskedPaths,omitempty"`
	ReadonlyPaths    []string       `json:"readonlyPaths,omitempty"`
}

// Requested is a mount as it was asked for, to be shown again.
type Requested struct {
	HostPath          string      `json:"hostPath,omitempty"`
	ContainerPath     string      `json:"containerPath"`
	Readonly          bool        `json:"readonly,omitempty"`
	RecursiveReadonly bool        `json:"recursiveReadonly,omitempty"`
	SelinuxRelabel    bool        `json:"selinuxRelabel,omitempty"`
	Propagation       Propagation `json:"propagation,omitempty"`
	Image             string      `json:"image,omitempty"`   // an image volume
	ImageID           string      `json:"imageID,omitempty"` // what Image was at create time
	SubPath           string      `json:"subPath,omitempty"`
	Options           []string    `json:"options,omitempty"`
	IDMap             *UserNS     `json:"idMap,omitempty"`
}

// ContainerConfig is what CreateContainer was asked for.
type ContainerConfig struct {
	Name        string            `json:"name"`
	Attempt     uint32            `json:"attempt"`
	Image       string            `json:"image"`     // as the request resolves it
	UserImage   string            `json:"userImage"` // as the user wrote it
	Command     []string          `json:"command,omitempty"`
	Args        []string          `json:"args,omitempty"`
	WorkingDir  string            `json:"workingDir,omitempty"`
	Env         []EnvVar          `json:"env,omitempty"`
	Mounts      []Requested       `json:"mounts,omitempty"`
	Devices     []Device          `json:"devices,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	LogPath     string            `json:"logPath,omitempty"` // relative to the pod's LogDirectory
	Stdin       bool              `json:"stdin,omitempty"`
	StdinOnce   bool              `json:"stdinOnce,omitempty"`
	TTY         bool              `json:"tty,omitempty"`
	StopSignal  string            `json:"stopSignal,omitempty"` // SIGTERM style; empty: the image's, else SIGTERM
	Resources   Resources         `json:"resources"`
	Security    Security          `json:"security"`
}
