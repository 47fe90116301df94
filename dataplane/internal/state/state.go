// Package state keeps a node's last good snapshot on disk, so that a restarted
// data plane serves before it has met a controller.
package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const (
	fileName  = "snapshot"
	tmpPrefix = fileName + ".tmp-"
	// maxFileBytes is more than any file that was written here; a longer one
	// is not read into memory.
	maxFileBytes = 3 * snapshot.MaxMessageSize
)

// File is the last good snapshot in a directory.
type File struct{ path string }

// Open creates the directory, readable by its owner alone, where it does not
// exist, and removes what a crash in the middle of a save has left there.
func Open(dir string) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: create directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tmpPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("state: remove an unfinished save: %w", err)
		}
	}
	return &File{path: filepath.Join(dir, fileName)}, nil
}

// Load gives the stored snapshot, or nil where there is none. A damaged file
// is an error; the caller goes on without it.
func (f *File) Load() (*snapshot.File, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("state: %s: %d bytes are more than any snapshot has", f.path, info.Size())
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	content, err := snapshot.UnmarshalFile(b)
	if err != nil {
		return nil, fmt.Errorf("state: %s: %w", f.path, err)
	}
	return content, nil
}

// Save replaces the stored snapshot as a whole: a crash at any moment leaves
// either the old file or the new one.
func (f *File) Save(content *snapshot.File) error {
	b, err := snapshot.MarshalFile(content)
	if err == nil {
		err = replace(f.path, b)
	}
	if err != nil {
		return fmt.Errorf("state: save: %w", err)
	}
	return nil
}

// replace makes b the content of a file of the directory, durably and as a whole.
func replace(path string, b []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), tmpPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

// syncDir makes a rename in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Source gives what is to be saved.
type Source func(context.Context) (*snapshot.File, error)

// Saver saves after changes, in the background and at most once an interval,
// so that the disk's fsync delays no change and a storm of changes costs
// little. A crash loses at most the interval; the controller then sends the
// difference.
type Saver struct {
	File     *File
	Source   Source
	Interval time.Duration
	Logger   hclog.Logger
	Changed  <-chan struct{}
	// Saved is called after each save, with its error. Optional.
	Saved func(error)
}

// Run saves until ctx ends, and then once more if a change is not saved yet;
// Source must still answer then. A save that has begun is finished.
func (s *Saver) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	dirty, ready := false, true
	for {
		select {
		case <-ctx.Done():
			select {
			case <-s.Changed:
				dirty = true
			default:
			}
			if dirty {
				_ = s.save(context.WithoutCancel(ctx))
			}
			return nil
		case <-s.Changed:
			dirty = true
		case <-timer.C:
			ready = true
		}
		if dirty && ready {
			dirty, ready = s.save(context.WithoutCancel(ctx)) != nil, false
			timer.Reset(s.Interval) // also after an error, which is tried again
		}
	}
}

func (s *Saver) save(ctx context.Context) error {
	content, err := s.Source(ctx)
	if err == nil {
		err = s.File.Save(content)
	}
	if err != nil {
		s.Logger.Error("last good snapshot not saved; a restart would begin with an older one", "error", err)
	}
	if s.Saved != nil {
		s.Saved(err)
	}
	return err
}
