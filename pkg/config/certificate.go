package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
)

// maxPEMBytes bounds a certificate or key file.
const maxPEMBytes = 1 << 20

// certificateFiles puts the content of certificate_file and private_key_file, which only files have, in the place of certificate
// and private_key. Later complaints about the content name the field as written.
func (l *loader) certificateFiles(d *Document) []*Error {
	field := d.root.Get("certificates")
	if field == nil {
		return nil
	}
	var found []*Error
	for i, entry := range field.Value.Items {
		for _, name := range []struct{ file, camel, content string }{
			{"certificate_file", "certificateFile", "certificate"},
			{"private_key_file", "privateKeyFile", "private_key"},
		} {
			written := entry.Take(name.file)
			if other := entry.Take(name.camel); written == nil {
				written = other
			}
			if written == nil || written.Value.Kind == textform.Null {
				continue
			}
			prefix := fmt.Sprintf("certificates[%d].", i)
			d.renamed[prefix+name.content] = prefix + name.file
			text, v := l.certificateFile(d.File, written.Value)
			if entry.Get(name.content) != nil {
				v = &lb.Violation{Problem: "cannot stand beside " + name.content, Remedy: "keep one of them"}
			} else {
				entry.Fields = append(entry.Fields, textform.Field{
					Name: name.content, Line: written.Line, Value: &textform.Node{Kind: textform.Scalar, Text: text, Quoted: true, Line: written.Line},
				})
			}
			if v != nil {
				v.Path = prefix + name.file
				found = append(found, &Error{File: d.File, Line: written.Line, Violation: *v})
			}
		}
	}
	return found
}

// certificateFile reads a file named in a YAML file: relative to that file's folder, through symbolic links, and no more than a
// certificate may need.
func (l *loader) certificateFile(from string, name *textform.Node) (text string, v *lb.Violation) {
	if name.Kind != textform.Scalar || name.Text == "" {
		return "", &lb.Violation{Problem: "is not the name of a file"}
	}
	path := name.Text
	if !filepath.IsAbs(path) && from != Stdin {
		path = filepath.Join(filepath.Dir(from), path)
	}
	unreadable := func(why string) *lb.Violation {
		remedy := ""
		if path != name.Text {
			remedy = "the name is relative to the folder of " + from
		}
		return &lb.Violation{Problem: fmt.Sprintf("%q cannot be read: %s", path, why), Remedy: remedy}
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", unreadable(cause(err))
	case !info.Mode().IsRegular():
		return "", unreadable("it is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", unreadable(cause(err))
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPEMBytes+1))
	switch {
	case err != nil:
		return "", unreadable(cause(err))
	case len(content) > maxPEMBytes:
		return "", unreadable(fmt.Sprintf("it is longer than %d bytes", maxPEMBytes))
	}
	return string(content), nil
}
