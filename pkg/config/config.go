// Package config owns the YAML file format: one document is one load balancer, a file may hold many. Loading reports every fault
// of every document at once, each with its file and line; what it returns is valid. Export writes documents that load again.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Stdin is the path that stands for Options.Stdin.
const Stdin = "-"

// Options tell about the world around the files.
type Options struct {
	// Stdin is read for the path "-"; nil refuses that path.
	Stdin io.Reader
	// KeysMayBeStored accepts server certificates without private keys, as exports have them: the controller that gets them
	// decides whether it holds the key.
	KeysMayBeStored bool
	// Addresses is the operator's policy on VIPs and backends; nil checks none.
	Addresses *lb.AddressPolicy
}

// Document is one load balancer of a file.
type Document struct {
	File   string // as given; "-" is standard input
	Line   int    // where the document begins
	Config *fiberlbv1.LoadBalancerConfig
	LB     *lb.LoadBalancer

	root    *textform.Node
	renamed map[string]string // paths of the message that are written under another name
}

// Fault places a violation found elsewhere, say by the server, in the document's file.
func (d *Document) Fault(v lb.Violation) *Error {
	line := d.root.LineOf(v.Path)
	for path, written := range d.renamed {
		if v.Path == path {
			v.Path = written
		}
	}
	return &Error{File: d.File, Line: line, Violation: v}
}

// Load reads the documents of one file. Certificate files are read relative to the folder of name. The error is of type [Errors].
func Load(name string, data []byte, opts Options) ([]Document, error) {
	l := loader{opts: opts}
	l.file(name, data)
	return l.done()
}

// LoadFiles reads files, folders (their *.yaml and *.yml, in the order of names) and "-". The same load balancer, or the same VIP,
// in two documents is a fault. The error is of type [Errors].
func LoadFiles(paths []string, opts Options) ([]Document, error) {
	l := loader{opts: opts}
	for _, path := range paths {
		l.path(path)
	}
	return l.done()
}

// loader collects documents and faults.
type loader struct {
	opts      Options
	documents []*Document
	errors    Errors
}

func (l *loader) fault(file string, line int, path, problem, remedy string) {
	l.errors = append(l.errors, &Error{File: file, Line: line, Violation: lb.Violation{Path: path, Problem: problem, Remedy: remedy}})
}

func (l *loader) done() ([]Document, error) {
	l.duplicates()
	if len(l.errors) > 0 {
		return nil, l.errors
	}
	documents := make([]Document, len(l.documents))
	for i, d := range l.documents {
		documents[i] = *d
	}
	return documents, nil
}

func (l *loader) path(path string) {
	if path == Stdin {
		if l.opts.Stdin == nil {
			l.fault(path, 0, "", "there is no standard input to read", "name a file")
			return
		}
		l.read(path, l.opts.Stdin)
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		l.fault(path, 0, "", "cannot be read: "+cause(err), "")
		return
	}
	if !info.IsDir() {
		l.open(path)
		return
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		l.fault(path, 0, "", "cannot be read: "+cause(err), "")
		return
	}
	found := false
	for _, entry := range entries {
		if extension := filepath.Ext(entry.Name()); !entry.IsDir() && (extension == ".yaml" || extension == ".yml") {
			found = true
			l.open(filepath.Join(path, entry.Name()))
		}
	}
	if !found {
		l.fault(path, 0, "", "the folder holds no *.yaml or *.yml file", "")
	}
}

func (l *loader) open(path string) {
	f, err := os.Open(path)
	if err != nil {
		l.fault(path, 0, "", "cannot be read: "+cause(err), "")
		return
	}
	defer f.Close()
	l.read(path, f)
}

func (l *loader) read(name string, r io.Reader) {
	data, err := io.ReadAll(io.LimitReader(r, textform.MaxBytes+1))
	switch {
	case err != nil:
		l.fault(name, 0, "", "cannot be read: "+cause(err), "")
	case len(data) > textform.MaxBytes:
		l.fault(name, 0, "", fmt.Sprintf("is longer than %d bytes", textform.MaxBytes), "split it into several files")
	default:
		l.file(name, data)
	}
}

// file reads the documents of one file; a ".json" file is one document.
func (l *loader) file(name string, data []byte) {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		l.parsed(name, 1, func() (*textform.Node, error) { return textform.ParseJSON(data) })
		return
	}
	documents := textform.SplitYAML(data)
	if len(documents) == 0 {
		l.fault(name, 0, "", "holds no load balancer", "")
	}
	for _, d := range documents {
		l.parsed(name, d.Line, d.Parse)
	}
}

func (l *loader) parsed(name string, line int, parse func() (*textform.Node, error)) {
	root, err := parse()
	if err != nil {
		if syntax := (*textform.SyntaxError)(nil); errors.As(err, &syntax) {
			l.fault(name, syntax.Line, "", syntax.Problem, "")
			return
		}
		l.fault(name, line, "", err.Error(), "")
		return
	}
	d := &Document{File: name, Line: root.Line, Config: &fiberlbv1.LoadBalancerConfig{}, root: root, renamed: map[string]string{}}
	found := l.certificateFiles(d)
	faults := textform.Decode(root, d.Config)
	for _, f := range faults {
		found = append(found, &Error{File: name, Line: f.Line, Violation: f.Violation})
	}
	l.documents = append(l.documents, d)

	var options []lbpb.Option
	if l.opts.KeysMayBeStored {
		options = append(options, lbpb.KeysMayBeStored())
	}
	if l.opts.Addresses != nil {
		options = append(options, lbpb.WithAddresses(*l.opts.Addresses))
	}
	var violations lb.Violations
	if root.Kind == textform.Object {
		d.LB, violations = lbpb.FromConfig(d.Config, options...)
	}
	unread := found // what could not be read cannot be judged
	for _, v := range violations {
		if e := d.Fault(v); !faults.Covers(v.Path) && !slices.ContainsFunc(unread, func(u *Error) bool { return u.Path == e.Path }) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	l.errors = append(l.errors, found...)
}

// duplicates reports what two documents claim.
func (l *loader) duplicates() {
	names, vips := map[string]*Document{}, map[netip.Addr]*Document{}
	for _, d := range l.documents {
		name := d.Config.GetName()
		full := cmp.Or(d.Config.GetProject(), lb.DefaultProject) + "/" + name
		if first, ok := names[full]; ok && name != "" {
			l.fault(d.File, d.root.LineOf("name"), "name", fmt.Sprintf("load balancer %q is defined twice, first in %s:%d", full, first.File, first.root.LineOf("name")), "keep one of them")
			continue
		}
		names[full] = d
		for i, text := range d.Config.GetVips() {
			vip, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			path := fmt.Sprintf("vips[%d]", i)
			if first, ok := vips[vip.Unmap()]; ok && first != d {
				l.fault(d.File, d.root.LineOf(path), path, fmt.Sprintf("%s is a VIP of %q already, in %s:%d", vip, first.Config.GetName(), first.File, first.Line), "a VIP belongs to one load balancer")
				continue
			}
			vips[vip.Unmap()] = d
		}
	}
}

// cause strips operation and path from an error of the file system: the report names the path itself.
func cause(err error) string {
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}
