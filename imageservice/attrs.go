package imageservice

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dirAttr is what a directory of the image must look like.
type dirAttr struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

// hiddenAttrs finds directories whose attributes an upper layer hides without
// meaning to: an archive may hold tmp/file without tmp, and the directory that
// was made for it would turn a /tmp of mode 1777 into one of 0755. Layers are
// unpacked one by one and shared between images, so it shows only when they are
// stacked.
func hiddenAttrs(layers []string, implicit [][]string) []dirAttr {
	made := make([]map[string]bool, len(layers))
	paths := map[string]bool{}
	for i, list := range implicit {
		made[i] = map[string]bool{}
		for _, p := range list {
			made[i][p], paths[p] = true, true
		}
	}
	var attrs []dirAttr
	for p := range paths {
		if a, ok := hiddenAttr(layers, made, p); ok {
			attrs = append(attrs, a)
		}
	}
	slices.SortFunc(attrs, func(a, b dirAttr) int { return strings.Compare(a.Path, b.Path) })
	return attrs
}

// hiddenAttr looks from the top for the first layer that describes the
// directory. It is hidden if a layer above made one for its own use.
func hiddenAttr(layers []string, made []map[string]bool, p string) (dirAttr, bool) {
	hidden := false
	for i := len(layers) - 1; i >= 0; i-- {
		var st unix.Stat_t
		dir := filepath.Join(layers[i], p)
		if !realPath(layers[i], p) || unix.Lstat(dir, &st) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return dirAttr{}, false
		}
		if made[i][p] {
			hidden = true
			if opaque(dir) {
				return dirAttr{}, false
			}
			continue
		}
		a := dirAttr{p, st.Mode & 0o7777, st.Uid, st.Gid}
		return a, hidden && a != dirAttr{p, 0o755, 0, 0}
	}
	return dirAttr{}, false
}

// realPath says that the directories above p are directories of the layer and
// no links, whose targets are another matter.
func realPath(layer, p string) bool {
	for d := filepath.Dir(p); d != "."; d = filepath.Dir(d) {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(layer, d), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return false
		}
	}
	return true
}

// attrLayer makes a layer that holds nothing but these directories, to be put
// on top.
func (p *pull) attrLayer(attrs []dirAttr) (string, error) {
	data, err := json.Marshal(attrs)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	key := "a-" + hex.EncodeToString(sum[:])
	p.pin("layer/" + key)
	if _, ok := p.s.store.layer(key); ok {
		return key, nil
	}
	_, err = p.s.store.makeLayer(key, func(dir string) (filled, error) {
		return filled{}, makeDirs(dir, attrs)
	})
	return key, err
}

// makeDirs makes the directories. Those in between are in no list because
// they look as they are made.
func makeDirs(dir string, attrs []dirAttr) error {
	for _, a := range attrs {
		if err := os.MkdirAll(filepath.Join(dir, a.Path), 0o755); err != nil {
			return err
		}
	}
	for _, a := range attrs {
		path := filepath.Join(dir, a.Path)
		if err := unix.Lchown(path, int(a.UID), int(a.GID)); err != nil {
			return fmt.Errorf("set owner: %w", err)
		}
		if err := unix.Chmod(path, a.Mode); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	return nil
}

// keepAttrs puts a layer of attributes on top when the layers need one.
func (p *pull) keepAttrs() error {
	var dirs []string
	var implicit [][]string
	some := false
	for _, key := range p.rec.Layers {
		info, ok := p.s.store.layer(key)
		if !ok {
			return fmt.Errorf("layer %s vanished", key)
		}
		dirs, implicit = append(dirs, p.s.store.layerDir(key)), append(implicit, info.Implicit)
		some = some || len(info.Implicit) > 0
	}
	if !some || len(dirs) < 2 {
		return nil
	}
	attrs := hiddenAttrs(dirs, implicit)
	if len(attrs) == 0 {
		return nil
	}
	key, err := p.attrLayer(withParents(dirs, attrs))
	if err != nil {
		return fmt.Errorf("attributes of directories: %w", err)
	}
	p.rec.Layers = append(p.rec.Layers, key)
	return nil
}

// withParents adds the directories above those in the list as the stack shows
// them: the new layer must not hide their attributes in turn.
func withParents(layers []string, attrs []dirAttr) []dirAttr {
	have := map[string]dirAttr{}
	for _, a := range attrs {
		have[a.Path] = a
	}
	lfs := layerFS{layers}
	for _, a := range attrs {
		for d := filepath.Dir(a.Path); d != "."; d = filepath.Dir(d) {
			if _, ok := have[d]; ok {
				continue
			}
			var st unix.Stat_t
			n, _, err := lfs.lookup(d)
			if err == nil && len(n.dirs) > 0 && unix.Lstat(n.dirs[0], &st) == nil {
				have[d] = dirAttr{d, st.Mode & 0o7777, st.Uid, st.Gid}
			}
		}
	}
	var list []dirAttr
	for _, a := range have {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b dirAttr) int { return strings.Compare(a.Path, b.Path) })
	return list
}
