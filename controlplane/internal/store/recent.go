package store

import (
	"bytes"
	"container/list"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// recentLimit is how much of load balancers is remembered, in bytes as weigh estimates them. Where the configuration is watched,
// these are mostly the very objects that the watch holds anyway.
const recentLimit = 64 << 20

// recent remembers load balancers as they were last read or written. It never decides what is so: the head, which lists all
// content by hash, does, and what is remembered only saves reading and decoding the rest.
type recent struct {
	limit int

	mu      sync.Mutex
	bytes   int                   // guarded by mu: of all entries
	entries map[Key]*list.Element // guarded by mu: of remembered
	order   list.List             // guarded by mu: the least recently used one last
	coming  map[Key]*Entry        // guarded by mu: versions that are being written, which a watch may see before the writer does
}

type remembered struct {
	entry *Entry
	bytes int
}

// knows tells whether anything is remembered of a load balancer.
func (r *recent) knows(key Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[key] != nil
}

// find gives the version that has the head which lies in etcd; nil: it is not remembered.
func (r *recent) find(key Key, head *mvccpb.KeyValue) *Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.coming[key]
	if at := r.entries[key]; at != nil && (e == nil || !bytes.Equal(e.raw, head.Value)) {
		r.order.MoveToFront(at)
		e = at.Value.(remembered).entry
	}
	if e == nil || !bytes.Equal(e.raw, head.Value) {
		return nil
	}
	return &Entry{LB: e.LB, Revision: head.ModRevision, head: e.head, raw: e.raw}
}

// expect tells of a version that is about to be written, until the writer calls done.
func (r *recent) expect(e *Entry) (done func()) {
	key := KeyOf(e.LB)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.coming == nil {
		r.coming = make(map[Key]*Entry)
	}
	r.coming[key] = e
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.coming[key] == e {
			delete(r.coming, key)
		}
	}
}

// put remembers a version instead of the one before, and forgets those used least as it needs room. A later version stays: a
// watch may be behind a writer.
func (r *recent) put(e *Entry) {
	own := *e
	own.Repeated = false
	one := remembered{&own, weigh(e)}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.entries[KeyOf(e.LB)]
	if at != nil && at.Value.(remembered).entry.Revision > e.Revision {
		return
	}
	r.remove(at)
	if one.bytes > r.limit {
		return
	}
	if r.entries == nil {
		r.entries = make(map[Key]*list.Element)
	}
	r.entries[KeyOf(e.LB)] = r.order.PushFront(one)
	for r.bytes += one.bytes; r.bytes > r.limit; {
		r.remove(r.order.Back())
	}
}

func (r *recent) forget(key Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(r.entries[key])
}

// remove takes an element out, if there is one. The caller holds mu.
func (r *recent) remove(at *list.Element) {
	if at == nil {
		return
	}
	one := r.order.Remove(at).(remembered)
	delete(r.entries, KeyOf(one.entry.LB))
	r.bytes -= one.bytes
}

// weigh estimates what an entry takes in memory.
func weigh(e *Entry) int {
	const object = 512 // bytes of an object with its names
	n := 4 * len(e.raw)
	add := func(i *lb.Info) {
		n += object + len(i.Description)
		for key, value := range i.Labels {
			n += len(key) + len(value)
		}
	}
	l := e.LB
	add(&l.Info)
	for _, x := range l.Listeners {
		add(&x.Info)
		n += 32 * len(x.AllowedCIDRs)
	}
	for _, x := range l.Pools {
		add(&x.Info)
		for _, b := range x.Backends {
			add(&b.Info)
		}
	}
	for _, x := range l.Policies {
		add(&x.Info)
		if x.FixedResponse != nil {
			n += len(x.FixedResponse.Body)
		}
		for _, r := range x.Rules {
			add(&r.Info)
			n += len(r.Value) + len(r.Key)
		}
	}
	for _, x := range l.Certificates {
		add(&x.Info)
		n += len(x.Chain) + object
	}
	return n
}
