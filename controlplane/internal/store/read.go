package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// Get reads a load balancer as it is now: its head, and the rest only where that is not the head of the version read or written
// last. Errors: [ErrNotFound], [*DecodeError].
func (s *Store) Get(ctx context.Context, project, name string) (*Entry, error) {
	defer s.observe("get")()
	key := Key{project, name}
	e, err := s.get(ctx, key)
	return e, wrap("get", key, err)
}

func (s *Store) get(ctx context.Context, key Key) (*Entry, error) {
	// What cannot be a part of a key would read somebody else's.
	if key.Project == "" || key.LB == "" || strings.Contains(key.Project+key.LB, "/") {
		return nil, ErrNotFound
	}
	if s.recent.knows(key) {
		resp, err := s.kv.Get(ctx, s.keys.head(key))
		if err != nil {
			return nil, err
		}
		if len(resp.Kvs) == 0 {
			s.recent.forget(key)
			return nil, ErrNotFound
		}
		if e := s.recent.find(key, resp.Kvs[0]); e != nil {
			return e, nil
		}
	}
	resp, err := s.kv.Get(ctx, s.keys.lb(key), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	g := newGroup(key)
	for _, kv := range resp.Kvs {
		if _, suffix, ok := s.keys.split(string(kv.Key)); ok {
			g.add(suffix, kv)
		}
	}
	if g.head == nil {
		return nil, ErrNotFound
	}
	e, err := g.entry()
	if err == nil {
		s.recent.put(e)
	}
	return e, err
}

// group is what lies under one load balancer's prefix at one revision.
type group struct {
	key      Key
	head     *mvccpb.KeyValue
	children map[string][]byte // by suffix
}

func newGroup(key Key) *group { return &group{key: key, children: make(map[string][]byte)} }

func (g *group) add(suffix string, kv *mvccpb.KeyValue) {
	if suffix == headName {
		g.head = kv
		return
	}
	g.children[suffix] = kv.Value
}

// entry decodes the group, which has a head.
func (g *group) entry() (*Entry, error) {
	head, err := decodeHead(g.head.Value)
	if err != nil {
		return nil, &DecodeError{g.key.String(), err}
	}
	l, err := assemble(g.key, head, nil, childIn(g.children))
	if err != nil {
		return nil, &DecodeError{g.key.String(), err}
	}
	return &Entry{LB: l, Revision: g.head.ModRevision, head: head, raw: g.head.Value}, nil
}

// childIn looks children up among values by suffix.
func childIn(values map[string][]byte) func(childID) (*storev1.Child, error) {
	return func(id childID) (*storev1.Child, error) {
		value, ok := values[id.suffix()]
		if !ok {
			return nil, fmt.Errorf("%s: is missing", id.suffix())
		}
		return decodeChild(id, value)
	}
}

// ListOptions select a page of load balancers.
type ListOptions struct {
	Project  string // empty: of all projects
	After    string // Next of the page before; empty: from the start
	Limit    int    // load balancers in a page; 0 or less: all
	Revision int64  // of the page before; 0: as it is now
}

// Page of load balancers, all as they were at one revision.
type Page struct {
	Entries  []*Entry
	Revision int64   // of etcd, to be handed in with Next
	Next     string  // where the next page begins; empty: this was the last one
	Faults   []Fault // load balancers of this page that cannot be read
}

// Fault tells that a stored object cannot be read.
type Fault struct {
	Name string // full name
	Err  error
}

// List reads load balancers in a fixed order, page by page; pages of one revision fit together whatever is written between
// them. Errors: [ErrCompacted] when the revision of the page before is gone.
func (s *Store) List(ctx context.Context, o ListOptions) (*Page, error) {
	defer s.observe("list")()
	page, err := s.list(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("store: list load balancers: %w", clean(err))
	}
	return page, nil
}

func (s *Store) list(ctx context.Context, o ListOptions) (*Page, error) {
	from := s.keys.lbs()
	if o.Project != "" {
		if strings.Contains(o.Project, "/") {
			return nil, fmt.Errorf("project %q: not a name", o.Project)
		}
		from = s.keys.project(o.Project)
	}
	end := clientv3.GetPrefixRangeEnd(from)
	if o.After != "" {
		project, name, ok := strings.Cut(o.After, "/")
		if !ok || project == "" || name == "" || strings.Contains(name, "/") || o.Project != "" && project != o.Project {
			return nil, fmt.Errorf("%q does not come from a page of this list", o.After)
		}
		from = clientv3.GetPrefixRangeEnd(s.keys.lb(Key{project, name}))
	}
	page := &Page{}
	var open *group
	last := Key{}
	errFull := errors.New("the page is full")
	flush := func() {
		if open == nil || open.head == nil {
			return
		}
		last = open.key
		if e, err := open.entry(); err != nil {
			page.Faults = append(page.Faults, Fault{open.key.String(), err})
		} else {
			page.Entries = append(page.Entries, e)
		}
	}
	revision, err := s.scan(ctx, from, end, o.Revision, func(kv *mvccpb.KeyValue) error {
		key, suffix, ok := s.keys.split(string(kv.Key))
		if !ok {
			return nil
		}
		if open == nil || open.key != key {
			flush()
			open = newGroup(key)
			if o.Limit > 0 && len(page.Entries)+len(page.Faults) >= o.Limit {
				return errFull
			}
		}
		open.add(suffix, kv)
		return nil
	})
	switch {
	case errors.Is(err, errFull):
		page.Next = last.Project + "/" + last.LB
	case err != nil:
		return nil, err
	default:
		flush()
	}
	page.Revision = revision
	return page, nil
}

// How much of a range is read in one request: batches grow and shrink between these numbers of keys, so that an answer comes
// close to the number of bytes.
const (
	scanFirst = 128
	scanMost  = 1024
	scanLeast = 4
	scanBytes = 4 << 20
)

// scan visits a range of keys in their order as it was at one revision, 0 being the present one, and gives that revision.
func (s *Store) scan(ctx context.Context, from, end string, revision int64, visit func(*mvccpb.KeyValue) error, options ...clientv3.OpOption) (int64, error) {
	limit := scanFirst
	for {
		o := append([]clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(int64(limit)), clientv3.WithRev(revision)}, options...)
		resp, err := s.kv.Get(ctx, from, o...)
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = resp.Header.GetRevision()
		}
		bytes := 0
		for _, kv := range resp.Kvs {
			bytes += len(kv.Key) + len(kv.Value)
			if err := visit(kv); err != nil {
				return revision, err
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return revision, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		if bytes > scanBytes {
			limit = max(scanLeast, limit/2)
		} else if bytes < scanBytes/2 {
			limit = min(scanMost, limit*2)
		}
	}
}
