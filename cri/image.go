package cri

import (
	"context"
	"errors"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// PullImage implements ImageService.
func (s *Server) PullImage(ctx context.Context, r *runtimev1.PullImageRequest) (*runtimev1.PullImageResponse, error) {
	image, err := s.Images.Pull(ctx, imageservice.PullRequest{Ref: r.GetImage().GetImage(), Auth: parseAuth(r.GetAuth())})
	if err != nil {
		return nil, err
	}
	return &runtimev1.PullImageResponse{ImageRef: image.ID}, nil
}

func parseAuth(a *runtimev1.AuthConfig) imageservice.Auth {
	return imageservice.Auth{
		Username: a.GetUsername(), Password: a.GetPassword(), Auth: a.GetAuth(), ServerAddress: a.GetServerAddress(),
		IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	}
}

// ImageStatus implements ImageService. An unknown image is no error. Verbose
// adds, as JSON, "info" with the explanation of the image, and "pull" with the
// progress of pulls of this name, also of an image that is not here yet.
func (s *Server) ImageStatus(ctx context.Context, r *runtimev1.ImageStatusRequest) (*runtimev1.ImageStatusResponse, error) {
	name := r.GetImage().GetImage()
	image, err := s.Images.Status(ctx, name)
	if err != nil && !errors.Is(err, imgerr.ErrNotFound) {
		return nil, err
	}
	resp := &runtimev1.ImageStatusResponse{}
	if err == nil {
		resp.Image = showImage(image)
	}
	if r.Verbose {
		resp.Info, err = s.explainImage(ctx, name, image)
		return resp, err
	}
	return resp, nil
}

func (s *Server) explainImage(ctx context.Context, name string, image *imageservice.Image) (map[string]string, error) {
	info := map[string]any{}
	if pulls := s.Images.Progress(name); len(pulls) > 0 {
		info["pull"] = pulls
	}
	if image != nil {
		e, err := s.Images.Explain(ctx, image.ID)
		if err != nil && !errors.Is(err, imgerr.ErrNotFound) { // removed meanwhile
			return nil, err
		}
		if err == nil {
			info["info"] = e
		}
	}
	return jsonValues(info)
}

// ListImages implements ImageService.
func (s *Server) ListImages(ctx context.Context, r *runtimev1.ListImagesRequest) (*runtimev1.ListImagesResponse, error) {
	list, err := s.images(ctx, r.GetFilter())
	return &runtimev1.ListImagesResponse{Images: list}, err
}

// images lists all images, or the one that the filter names.
func (s *Server) images(ctx context.Context, f *runtimev1.ImageFilter) ([]*runtimev1.Image, error) {
	if name := f.GetImage().GetImage(); name != "" {
		image, err := s.Images.Status(ctx, name)
		if errors.Is(err, imgerr.ErrNotFound) || errors.Is(err, imgerr.ErrInvalidReference) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []*runtimev1.Image{showImage(image)}, nil
	}
	all, err := s.Images.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []*runtimev1.Image
	for _, image := range all {
		list = append(list, showImage(image))
	}
	return list, nil
}

func showImage(i *imageservice.Image) *runtimev1.Image {
	r := &runtimev1.Image{
		Id: i.ID, RepoTags: i.RepoTags, RepoDigests: i.RepoDigests, Size: uint64(i.Size), Pinned: i.Pinned, Username: i.Username,
		Spec: &runtimev1.ImageSpec{Image: i.ID, Annotations: i.Annotations},
	}
	if i.UID != nil {
		r.Uid = &runtimev1.Int64Value{Value: *i.UID}
	}
	return r
}

// RemoveImage implements ImageService.
func (s *Server) RemoveImage(ctx context.Context, r *runtimev1.RemoveImageRequest) (*runtimev1.RemoveImageResponse, error) {
	return &runtimev1.RemoveImageResponse{}, s.Images.Remove(ctx, r.GetImage().GetImage())
}

// ImageFsInfo implements ImageService.
func (s *Server) ImageFsInfo(ctx context.Context, _ *runtimev1.ImageFsInfoRequest) (*runtimev1.ImageFsInfoResponse, error) {
	u, err := s.Images.Usage(ctx)
	if err != nil {
		return nil, err
	}
	layers, err := s.Manager.LayersUsage()
	if err != nil {
		return nil, err
	}
	at := u.Timestamp.UnixNano()
	return &runtimev1.ImageFsInfoResponse{
		ImageFilesystems: []*runtimev1.FilesystemUsage{{
			Timestamp: at, FsId: &runtimev1.FilesystemIdentifier{Mountpoint: u.Mountpoint}, UsedBytes: value(u.Bytes), InodesUsed: value(u.Inodes),
		}},
		ContainerFilesystems: []*runtimev1.FilesystemUsage{{
			Timestamp: layers.Time.UnixNano(), FsId: &runtimev1.FilesystemIdentifier{Mountpoint: s.ContainerFS}, UsedBytes: value(layers.Bytes), InodesUsed: value(layers.Inodes),
		}},
	}, nil
}
