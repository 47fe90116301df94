package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/apply"
	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/health"
	"github.com/fiberlb/fiberlb/dataplane/internal/l4"
	"github.com/fiberlb/fiberlb/dataplane/internal/ready"
	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// maxDown bounds the backends that a report names; it counts all of them.
const maxDown = 256

// observer looks at the node after every change, coalesced, and tells those
// who want to know: the BGP agent, the controller, the state file, the VIPs'
// interface.
type observer struct {
	d       *Dataplane
	reports chan struct{} // the report to the controller changed
	saves   chan struct{} // what is in force changed
	wake    chan struct{}

	drain    atomic.Bool // people drain the node
	stopping atomic.Bool

	owned []netip.Addr // VIPs as last stored; of observe alone

	mu         sync.Mutex // guards all below
	latest     *agentv1.Report
	reloadErr  error
	listeners  int
	pools      int
	revision   int64
	everLoaded bool
}

func newObserver(d *Dataplane) *observer {
	return &observer{
		d:       d,
		reports: make(chan struct{}, 1),
		saves:   make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		latest:  &agentv1.Report{},
	}
}

func tell(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run observes until ctx ends.
func (o *observer) run(ctx context.Context) error {
	pools, unsubscribe := o.d.registry.Subscribe()
	defer unsubscribe()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		began := time.Now()
		if err := o.observe(ctx); err != nil {
			return nil // only the end of the apply loop
		}
		took := time.Since(began)
		select {
		case <-ctx.Done():
			return nil
		case <-o.d.applier.Changed():
			tell(o.saves)
		case <-pools:
		case <-o.d.server.Changes():
		case <-o.d.vips.Changes():
		case <-o.d.ready.Heard():
			o.d.applier.Wake()
		case <-o.wake:
		}
		pause.Reset(max(observeInterval, observeShare*took))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// setDrain follows what people set of the node.
func (o *observer) setDrain(drain bool) {
	if o.drain.Swap(drain) != drain {
		o.d.logger.Info("drain", "draining", drain)
	}
	tell(o.wake)
}

// setStopping tells the BGP agent that this data plane ends.
func (o *observer) setStopping() {
	o.stopping.Store(true)
	tell(o.wake)
}

// reloaded keeps the outcome of the last reload of the file.
func (o *observer) reloaded(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reloadErr = err
}

// observe takes the state of all parts and hands out what follows from it.
func (o *observer) observe(ctx context.Context) error {
	in := ready.Input{
		Node:     o.d.cfg.Node,
		Draining: o.drain.Load() || o.stopping.Load(),
		Pools:    map[string]ready.Pool{},
		Present: func(addr netip.Addr) (bool, string) {
			if err := o.d.vips.Present(addr); err != nil {
				return false, err.Error()
			}
			return true, ""
		},
	}
	views := map[string]apply.ListenerView{}
	var refused []apply.Fault
	var addresses map[netip.Addr]struct{}
	if err := o.d.applier.View(ctx, func(v apply.View) {
		in.Loaded = v.Loaded()
		in.Version, _ = v.Version()
		addresses = v.Addresses()
		refused = v.Faults()
		for name, l := range v.Listeners() {
			views[name] = l
		}
	}); err != nil {
		return err
	}
	if in.Loaded {
		o.d.vips.Set(slices.Collect(maps.Keys(addresses)))
		o.keepAddresses()
	}
	pools := o.d.registry.Status()
	for _, p := range pools {
		in.Pools[p.Name] = ready.Pool{Backends: p.Total, Healthy: p.Healthy, Serves: p.Err == nil}
	}
	listeners := o.d.server.Status()
	for _, l := range listeners {
		view, ok := views[l.Name]
		if !ok {
			continue
		}
		entry := ready.Listener{Name: l.Name, Pool: view.DefaultPool, Leaving: view.Leaving, Bound: map[netip.Addr]error{}}
		for _, s := range l.Bindings {
			entry.Bound[s.Addr.Addr()] = s.Err
		}
		in.Listeners = append(in.Listeners, entry)
	}
	in.Listeners = append(in.Listeners, unserved(refused, views)...)
	readiness := ready.Compute(in)
	o.d.ready.Publish(readiness)
	o.keep(in, reportOf(pools, listeners, readiness), len(listeners), len(pools))
	return nil
}

// keepAddresses stores which VIPs are on the interface by our hand.
func (o *observer) keepAddresses() {
	owned := o.d.vips.Owned()
	if o.d.cfg.VIPInterface == "" || slices.Equal(owned, o.owned) {
		return
	}
	if err := o.d.file.SaveAddresses(owned); err != nil {
		o.d.logger.Error("VIPs on the interface not kept in mind", "error", err)
		return
	}
	o.owned = owned
}

// unserved gives the listeners that were refused and have no last good version,
// as unbound on every VIP that their load balancer has here: a VIP is ready
// only with all its listeners.
func unserved(refused []apply.Fault, views map[string]apply.ListenerView) []ready.Listener {
	var all []ready.Listener
	for _, f := range refused {
		if _, lastGood := views[f.Name]; lastGood || f.Kind != snapshot.KindListener {
			continue
		}
		entry := ready.Listener{Name: f.Name, Bound: map[netip.Addr]error{}}
		for name, sibling := range views {
			if path.Dir(name) != path.Dir(f.Name) {
				continue
			}
			for _, vip := range sibling.VIPs {
				entry.Bound[vip] = errors.New(f.Message)
			}
		}
		all = append(all, entry)
	}
	return all
}

// keep stores what was seen, and tells of the first configuration and of
// changes of the report.
func (o *observer) keep(in ready.Input, report *agentv1.Report, listeners, pools int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.listeners, o.pools, o.revision = listeners, pools, in.Version.Revision
	if !equalReports(o.latest, report) {
		o.latest = report
		tell(o.reports)
	}
	if in.Loaded && !o.everLoaded {
		o.everLoaded = true
		close(o.d.inForce)
		o.d.cfg.Notifier.Ready(fmt.Sprintf("%d listeners, %d pools", listeners, pools))
	}
}

// report is what the controller should know now.
func (o *observer) report(context.Context) (*agentv1.Report, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.latest, nil
}

// summary is the state in a few words.
func (o *observer) summary() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reloadErr != nil {
		return "the file was refused; the configuration before it stays"
	}
	return fmt.Sprintf("%d listeners, %d pools", o.listeners, o.pools)
}

// condition is not met while the file that should be in force is refused, or
// the configuration is long unconfirmed.
func (o *observer) condition() adminhttp.Condition {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := adminhttp.Condition{Name: "current", OK: true}
	if o.reloadErr != nil {
		c.OK, c.Reason = false, o.reloadErr.Error()
	}
	return c
}

// reportOf derives the report to the controller.
func reportOf(pools []balance.PoolStatus, listeners []l4.ListenerStatus, r *agentv1.Readiness) *agentv1.Report {
	report := &agentv1.Report{Draining: r.GetDraining()}
	for _, p := range pools {
		for _, b := range p.Backends {
			if b.State != health.Down {
				continue
			}
			report.DownCount++
			if len(report.Down) < maxDown {
				report.Down = append(report.Down, &agentv1.BackendFault{Name: p.Name + "/backends/" + b.Name, Message: b.Reason})
			}
		}
	}
	for _, l := range listeners {
		for _, s := range l.Bindings {
			if s.Err != nil {
				report.Listeners = append(report.Listeners, &agentv1.ResourceFault{
					Kind: agentv1.Kind(snapshot.KindListener), Name: l.Name, Message: s.Err.Error(),
				})
			}
		}
	}
	for _, v := range r.GetVips() {
		if v.GetReady() {
			report.ReadyVips = append(report.ReadyVips, v.GetVip())
		}
	}
	return report
}

func equalReports(a, b *agentv1.Report) bool {
	return a.GetDownCount() == b.GetDownCount() && a.GetDraining() == b.GetDraining() &&
		slices.Equal(a.GetReadyVips(), b.GetReadyVips()) &&
		slices.EqualFunc(a.GetDown(), b.GetDown(), func(x, y *agentv1.BackendFault) bool {
			return x.GetName() == y.GetName() && x.GetMessage() == y.GetMessage()
		}) &&
		slices.EqualFunc(a.GetListeners(), b.GetListeners(), func(x, y *agentv1.ResourceFault) bool {
			return x.GetName() == y.GetName() && x.GetMessage() == y.GetMessage()
		})
}

// nodeState is the body of GET /state.
type nodeState struct {
	Node      string          `json:"node"`
	Version   string          `json:"version"`
	Revision  int64           `json:"revision"`
	Since     time.Time       `json:"since"`
	Draining  bool            `json:"draining"`
	Refused   []resourceFault `json:"refused"`
	VIPs      []vipState      `json:"vips"`
	Listeners []listenerState `json:"listeners"`
	Pools     []poolState     `json:"pools"`
}

type resourceFault struct {
	Resource string `json:"resource"`
	Message  string `json:"message"`
}

type vipState struct {
	VIP    string `json:"vip"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

type listenerState struct {
	Name    string            `json:"name"`
	Sockets map[string]string `json:"sockets"` // address: "bound", or why not
	Active  int64             `json:"active_connections"`
}

type poolState struct {
	Name     string         `json:"name"`
	Healthy  int            `json:"healthy"`
	Reason   string         `json:"reason,omitempty"`
	Backends []backendState `json:"backends"`
}

type backendState struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Weight   uint16 `json:"weight"`
	Draining bool   `json:"draining,omitempty"`
	Active   int64  `json:"active_connections"`
}

// serveState shows what the node runs and how that stands.
func (o *observer) serveState(w http.ResponseWriter, r *http.Request) {
	s := nodeState{Node: o.d.cfg.Node, Draining: o.drain.Load()}
	if err := o.d.applier.View(r.Context(), func(v apply.View) {
		version, since := v.Version()
		s.Version, s.Revision, s.Since = version.String(), version.Revision, since
		for _, f := range v.Faults() {
			s.Refused = append(s.Refused, resourceFault{f.Name, f.Message})
		}
	}); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	for _, v := range o.d.ready.Latest().GetVips() {
		s.VIPs = append(s.VIPs, vipState{v.GetVip(), v.GetReady(), v.GetReason()})
	}
	for _, l := range o.d.server.Status() {
		ls := listenerState{Name: l.Name, Active: l.Active, Sockets: map[string]string{}}
		for _, sock := range l.Bindings {
			ls.Sockets[sock.Addr.String()] = "bound"
			if sock.Err != nil {
				ls.Sockets[sock.Addr.String()] = sock.Err.Error()
			}
		}
		s.Listeners = append(s.Listeners, ls)
	}
	for _, p := range o.d.registry.Status() {
		ps := poolState{Name: p.Name, Healthy: p.Healthy}
		if p.Err != nil {
			ps.Reason = p.Err.Error()
		}
		for _, b := range p.Backends {
			ps.Backends = append(ps.Backends, backendState{b.Name, b.Addr.String(), b.State.String(), b.Reason, b.Weight, b.Draining, b.Active})
		}
		s.Pools = append(s.Pools, ps)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}
