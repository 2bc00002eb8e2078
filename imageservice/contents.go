package imageservice

import (
	"errors"
	"io/fs"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
)

// maxDescription bounds a blob that is read to be described.
const maxDescription = 4 << 20

// contents says what an image holds that is not unpacked; nil for what is, and
// when the image is removed meanwhile. What does not parse is told as such.
func (s *Service) contents(img *Image) ([]string, error) {
	describe := map[format.Kind]func(*format.Document) ([]string, error){
		format.Spin: s.spinContents, format.Webc: s.packageContents,
	}[img.Format]
	if describe == nil {
		return nil, nil
	}
	data, err := s.store.readBlob(img.Manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := format.Parse("", data)
	if err != nil {
		return nil, err
	}
	list, err := describe(doc)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

func (s *Service) spinContents(doc *format.Document) ([]string, error) {
	at := format.SpinConfig(doc)
	if at < 0 {
		return nil, nil // its files are in the root filesystem
	}
	if doc.Layers[at].Size > maxDescription {
		return []string{"its locked application is too big to be read"}, nil
	}
	data, err := s.store.readBlob(doc.Layers[at].Digest)
	if err != nil {
		return nil, err
	}
	list, err := format.DescribeSpin(data)
	if err != nil {
		return []string{err.Error()}, nil
	}
	return list, nil
}
