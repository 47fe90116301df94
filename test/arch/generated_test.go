package arch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProtoDigest compares the digest that proto/generate.sh stored beside its output with that of its inputs now. A test that
// ran protoc would need protoc.
func TestProtoDigest(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(root, "proto")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return
	}
	inputs := map[string][]byte{}
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if extension := filepath.Ext(name); entry.IsDir() || extension != ".proto" && extension != ".yaml" {
			return nil
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		inputs[filepath.ToSlash(relative)], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(folder, "digest.txt"))
	if err != nil {
		t.Fatalf("%v\n\tremedy: make generate", err)
	}
	if got, want := digest(inputs), strings.TrimSpace(string(stored)); got != want {
		t.Errorf("the inputs in proto/ have the digest %s, and the generated files were made from %s\n\twhy not: code that was generated from other definitions speaks another protocol than the one that is written down\n\tremedy: make generate", got, want)
	}
}

// digest is the SHA-256 of what `sha256sum` prints for the files in the order of their names, as proto/generate.sh computes it.
func digest(files map[string][]byte) string {
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(lines.String())))
}

// Messages must have been generated from a file that exists: a .proto that was removed leaves its Go behind.
func TestGeneratedFilesHaveTheirInputs(t *testing.T) {
	t.Parallel()
	for _, f := range load(t).files {
		if !f.generated || !within(f.dir, "proto") {
			continue
		}
		source := generatedFrom(f)
		if source == "" {
			t.Errorf("%s: does not say which file it was generated from", f.path)
			continue
		}
		if _, err := os.Stat(filepath.Join(root, "proto", source)); err != nil {
			t.Errorf("%s: was generated from a file that is gone: %v", f.path, err)
		}
	}
}

// generatedFrom is the source that protoc's plugins name in the head of a file.
func generatedFrom(f *file) string {
	for _, group := range f.syntax.Comments {
		for _, comment := range group.List {
			for line := range strings.Lines(comment.Text) {
				if source, ok := strings.CutPrefix(strings.TrimLeft(line, "/ "), "source: "); ok {
					return strings.TrimSpace(source)
				}
			}
		}
	}
	return ""
}
