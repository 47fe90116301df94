package publish

import (
	"strings"
	"sync"
	"time"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
)

// maxForms bounds the forms that a source remembers: a fleet in the middle of an upgrade has two or three kinds of nodes.
const maxForms = 16

// source is one revision of a load balancer, with what it compiles to for each kind of node.
type source struct {
	slot    int // of its load balancer
	entry   *store.Entry
	metrics *Metrics

	mu    sync.Mutex                 // guards forms; held while compiling, so that this is done once
	forms map[string]*compile.Result // by capabilities
}

// compiled is what the load balancer means for nodes of these capabilities.
func (src *source) compiled(caps compile.Capabilities, key string) *compile.Result {
	src.mu.Lock()
	defer src.mu.Unlock()
	if result := src.forms[key]; result != nil {
		return result
	}
	start := time.Now()
	result := compile.Compile(src.entry.LB, caps)
	src.metrics.compile.Observe(time.Since(start).Seconds())
	if src.forms == nil || len(src.forms) >= maxForms {
		src.forms = make(map[string]*compile.Result, 1)
	}
	src.forms[key] = result
	return result
}

func (src *source) selects(labels map[string]string) bool {
	return compile.Selects(src.entry.LB, labels)
}

// slots numbers load balancers densely, so that what each stream remembers of them is a slice: 80 kB for ten thousand.
type slots struct {
	width  int   // numbers given out so far
	unused []int // those given back
}

func (s *slots) take() int {
	if last := len(s.unused) - 1; last >= 0 {
		slot := s.unused[last]
		s.unused = s.unused[:last]
		return slot
	}
	s.width++
	return s.width - 1
}

func (s *slots) free(slot int) { s.unused = append(s.unused, slot) }

func compareDiagnostics(x, y compile.Diagnostic) int {
	if c := strings.Compare(x.Resource, y.Resource); c != 0 {
		return c
	}
	return strings.Compare(x.Message, y.Message)
}
