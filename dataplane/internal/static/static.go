// Package static runs a node from a file instead of a controller: the file's
// load balancers are compiled here, by the same code that a controller uses.
package static

import (
	"errors"
	"fmt"

	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/config"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Load reads and compiles the file for a node of these labels. Any fault,
// also what this data plane cannot do, is an error that names all of them, so
// that a file is in force as a whole or not at all. The path may be a folder
// of files.
func Load(path string, labels map[string]string, revision int64) (*snapshot.Delta, error) {
	docs, err := config.LoadFiles([]string{path}, config.Options{})
	if err != nil {
		return nil, err
	}
	var (
		resources []*snapshot.Resource
		faults    []error
	)
	caps := compile.NewCapabilities(adminhttp.Version(), compile.DataPlane())
	for _, doc := range docs {
		if !compile.Selects(doc.LB, labels) {
			continue
		}
		res := compile.Compile(doc.LB, caps)
		resources = append(resources, res.Resources...)
		for _, d := range res.Diagnostics {
			faults = append(faults, fmt.Errorf("%s:%d: %s: %s", doc.File, doc.Line, d.Resource, d.Message))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	set := snapshot.NewSet(resources)
	return &snapshot.Delta{
		Full:    true,
		Version: snapshot.Version{Revision: revision, Digest: set.Digest()},
		Upserts: resources,
	}, nil
}
