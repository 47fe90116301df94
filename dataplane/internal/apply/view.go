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

// Listeners in force and those that are removed and linger, in no order.
func (v View) Listeners() iter.Seq2[string, ListenerView] {
	return func(yield func(string, ListenerView) bool) {
		for ref, f := range v.st.force {
			if f.listener == nil {
				continue
			}
			var leaving []netip.Addr
			if g := v.st.lingering[ref.Name]; g != nil {
				leaving = addresses(g.leaving)
			}
			if !yield(ref.Name, ListenerView{f.listener, leaving, true}) {
				return
			}
		}
		for name, g := range v.st.lingering {
			if g.removed && !yield(name, ListenerView{g.listener, g.listener.VIPs, false}) {
				return
			}
		}
	}
}

// ListenerView is a listener. Neither it nor what it holds may be changed, and
// both stay as they are.
type ListenerView struct {
	*snapshot.Listener
	// Leaving addresses are no longer wished and still open. They are beside
	// the VIPs of a listener in force, and all there are of one that is removed.
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
		for _, l := range g.leaving {
			all[l.vip] = struct{}{}
		}
	}
	return all
}

// File is what the state file keeps: the wish, and the last good forms of what
// was refused with all that they refer to.
func (v View) File() *snapshot.File {
	return &snapshot.File{Version: v.st.version, Set: v.st.wished, LastGood: snapshot.NewSet(v.st.lastGood())}
}

// Held is the version that the node was given last, and its resources,
// whether or not each is in force.
func (v View) Held() (snapshot.Version, *snapshot.Set) { return v.st.version, v.st.wished }
