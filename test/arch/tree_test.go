// Package arch holds the repository to its design: who may import whom, what pure packages may not touch, and that generated
// files and each binary's list of modules are what the repository says they are.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// root is the repository, seen from this package's folder, where go test runs it.
const root = "../.."

// module is the import path of the repository.
const module = "github.com/fiberlb/fiberlb"

// tree is the Go source of the repository, whatever platform it is for.
type tree struct {
	fset  *token.FileSet
	files []*file
}

// file is one Go source file.
type file struct {
	path      string // from the repository's root, with slashes
	dir       string // its folder; "." at the root
	syntax    *ast.File
	imports   []imported
	generated bool
}

// imported is one import of a file. An import of this module is named by its folder, and inside is true.
type imported struct {
	path   string
	inside bool
	spec   *ast.ImportSpec
}

// violation is one place where a rule is broken.
type violation struct {
	where string // path:line, or a folder
	what  string
}

func (v violation) String() string { return v.where + ": " + v.what }

// repository parses the repository once for all tests.
var repository = sync.OnceValues(func() (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			// The go command passes over these as well.
			if name != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return t.add(filepath.ToSlash(relative), source)
	})
	return t, err
})

func load(t *testing.T) *tree {
	t.Helper()
	tree, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) == 0 {
		t.Fatal("no Go files found")
	}
	return tree
}

// add parses one file into the tree.
func (t *tree) add(name string, source []byte) error {
	syntax, err := parser.ParseFile(t.fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &file{path: name, dir: path.Dir(name), syntax: syntax, generated: ast.IsGenerated(syntax)}
	for _, spec := range syntax.Imports {
		value, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		folder, inside := strings.CutPrefix(value, module+"/")
		f.imports = append(f.imports, imported{path: folder, inside: inside, spec: spec})
	}
	t.files = append(t.files, f)
	return nil
}

// at names a place in the source.
func (t *tree) at(node ast.Node) string {
	position := t.fset.Position(node.Pos())
	return fmt.Sprintf("%s:%d", position.Filename, position.Line)
}

// isTest reports whether a file is compiled into tests only.
func (f *file) isTest() bool {
	return strings.HasSuffix(f.path, "_test.go") || isTestSupport(f.dir)
}

// isTestSupport reports whether a folder holds what tests import: everything below test/, and packages like store/storetest.
func isTestSupport(dir string) bool {
	if within(dir, "test") {
		return true
	}
	return dir != "." && path.Base(dir) == path.Base(path.Dir(dir))+"test"
}

// within reports whether a folder or import path is one of the prefixes or lies below one.
func within(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		return name == prefix || strings.HasPrefix(name, prefix+"/")
	})
}

// localName is the name that a file uses for an import path, empty if it does not import it. For a dot import it is ".".
func (f *file) localName(importPath string) string {
	for _, i := range f.imports {
		if i.path != importPath || i.inside {
			continue
		}
		if i.spec.Name != nil {
			return i.spec.Name.Name
		}
		base := path.Base(importPath)
		if strings.HasPrefix(base, "v") && strings.Trim(base[1:], "0123456789") == "" && base != "v" {
			base = path.Base(path.Dir(importPath))
		}
		return base
	}
	return ""
}

// uses returns the places in node that name one of the package's exported names, each as "package.Name". A name that ends in *
// stands for every name that begins so.
func (t *tree) uses(f *file, node ast.Node, importPath string, names ...string) []violation {
	local := f.localName(importPath)
	if local == "" || local == "_" {
		return nil
	}
	matches := func(name string) bool {
		return slices.ContainsFunc(names, func(want string) bool {
			prefix, open := strings.CutSuffix(want, "*")
			return name == want || open && strings.HasPrefix(name, prefix)
		})
	}
	var found []violation
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == local && matches(n.Sel.Name) {
				found = append(found, violation{t.at(n), importPath + "." + n.Sel.Name})
			}
		case *ast.Ident:
			if local == "." && matches(n.Name) {
				found = append(found, violation{t.at(n), importPath + "." + n.Name})
			}
		}
		return true
	})
	return found
}
