package apply

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// View is the state as the loop shows it, valid only within the function that
// receives it.
type View struct{ st *state }

// View runs f in the loop with the present state. f must be quick.
func (a *Applier) View(ctx context.Context, f func(View)) error {
	return a.do(ctx, func() { f(View{&a.st}) })
}

// Loaded tells whether any configuration is in force.
func (v View) Loaded() bool { return v.st.loaded }

// Version in force, and since when.
func (v View) Version() (snapshot.Version, time.Time) { return v.st.version, v.st.since }

// Faults of all resources refused at present.
func (v View) Faults() []Fault { return v.st.sortedFaults() }

// Listeners in force and those that linger; removing lists the addresses of
// the listener that leave.
func (v View) Listeners() iter.Seq2[string, ListenerView] {
	return func(yield func(string, ListenerView) bool) {
		for ref, f := range v.st.force {
			if f.listener == nil {
				continue
			}
			var leaving []netip.Addr
			if g := v.st.lingering[ref.Name]; g != nil {
				leaving = g.leaving
			}
			if !yield(ref.Name, ListenerView{f.listener, leaving, true}) {
				return
			}
		}
		for name, g := range v.st.lingering {
			if v.st.force[snapshot.Ref{Kind: snapshot.KindListener, Name: name}] == nil &&
				!yield(name, ListenerView{g.listener, g.leaving, false}) {
				return
			}
		}
	}
}

// ListenerView is a listener with the addresses of it that leave.
type ListenerView struct {
	*snapshot.Listener
	Leaving []netip.Addr
	// InForce is false for a listener that is removed and lingers.
	InForce bool
}

// Addresses on which the node serves or still lingers.
func (v View) Addresses() map[netip.Addr]struct{} {
	all := make(map[netip.Addr]struct{}, len(v.st.vips))
	for vip := range v.st.vips {
		all[vip] = struct{}{}
	}
	for _, g := range v.st.lingering {
		for _, vip := range g.leaving {
			all[vip] = struct{}{}
		}
	}
	return all
}

// File is what the state file keeps: the wish, and the last good forms of what
// was refused.
func (v View) File() *snapshot.File {
	var lastGood []*snapshot.Resource
	for ref := range v.st.faults {
		if f := v.st.force[ref]; f != nil {
			lastGood = append(lastGood, f.resource)
		}
	}
	return &snapshot.File{Version: v.st.version, Set: v.st.wished, LastGood: snapshot.NewSet(lastGood)}
}

// Held is the version that the node was given last, and its resources,
// whether or not each is in force.
func (v View) Held() (snapshot.Version, *snapshot.Set) { return v.st.version, v.st.wished }
