// Package vip owns the VIP addresses on a node's interface: it puts there those that the configuration wants, heals them when
// somebody takes one away, and removes those that it put there itself and nobody wants any more.
//
// What is its own it knows from a mark on each address in the kernel (IFA_PROTO), which outlives the process. Addresses that
// others put there are used where they are wanted, and never removed.
package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// resync bounds how long a difference that no notification told of goes unnoticed; retry, one that could not be mended.
	resync = 10 * time.Second
	retry  = time.Second
)

// Config of a Keeper.
type Config struct {
	Logger hclog.Logger // nil: none
	// Interface gets the addresses. Empty: none is put anywhere, and all count as present, since listeners bind addresses
	// that are not there yet.
	Interface string
	// Owned are addresses that an earlier process put there, as its Owned told. It matters only on kernels before 5.18, which
	// keep no mark.
	Owned []netip.Addr
}

// Keeper keeps VIPs on an interface.
type Keeper struct {
	log     hclog.Logger
	name    string
	kernel  *kernel // nil: no interface
	changes chan struct{}

	mu      sync.Mutex // guards what follows
	wanted  []netip.Addr
	known   bool                // Set was called: what is wanted is known
	owned   map[netip.Addr]bool // put there by this process or, as handed in, by an earlier one
	marks   bool                // the kernel keeps marks: owned does not matter
	missing map[netip.Addr]error
}

// New returns a keeper for an interface, which must exist. The addresses on it stay as they are until Set says what is wanted.
// They also stay when the process ends, so that a restart interrupts nothing.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{log: cfg.Logger, name: cfg.Interface, changes: make(chan struct{}, 1),
		owned: make(map[netip.Addr]bool), missing: make(map[netip.Addr]error)}
	if k.log == nil {
		k.log = hclog.NewNullLogger()
	}
	for _, addr := range cfg.Owned {
		k.owned[addr] = true
	}
	if cfg.Interface == "" {
		return k, nil
	}
	conn, err := openKernel()
	if err != nil {
		return nil, fmt.Errorf("vip: %w", err)
	}
	if _, err := conn.link(cfg.Interface); err != nil {
		conn.close()
		return nil, fmt.Errorf("vip: interface %q: %w", cfg.Interface, err)
	}
	k.kernel = conn
	return k, nil
}

// Set tells which addresses are wanted, all of them. Those missing are put in place and own ones not wanted are removed when
// it returns; Present tells what could not be done. Loopback addresses are always there, and never touched.
func (k *Keeper) Set(addrs []netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted, k.known = slices.Clone(addrs), true
	k.reconcile()
}

// Present returns nil if a wanted address is on the interface, else why it is not.
func (k *Keeper) Present(addr netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kernel == nil || addr.IsLoopback() {
		return nil
	}
	if err := k.missing[addr]; err != nil {
		return err
	}
	if !slices.Contains(k.wanted, addr) {
		return errors.New("vip: the address is not configured")
	}
	return nil
}

// Owned tells which addresses this process and those before it put there, sorted; see Config.
func (k *Keeper) Owned() []netip.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]netip.Addr, 0, len(k.owned))
	for addr := range k.owned {
		list = append(list, addr)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// Changes gets a value whenever an address went missing or came back; those that come before the last one was received make one.
func (k *Keeper) Changes() <-chan struct{} { return k.changes }

// Run heals until ctx ends, and then releases what the keeper holds, leaving the addresses. It returns nil. Call it once.
func (k *Keeper) Run(ctx context.Context) error {
	if k.kernel == nil {
		<-ctx.Done()
		return nil
	}
	events := make(chan struct{}, 1)
	var listening sync.WaitGroup
	listening.Go(func() { k.kernel.listen(events) })
	timer := time.NewTimer(retry)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			k.kernel.stopListening()
			listening.Wait()
			k.mu.Lock()
			defer k.mu.Unlock()
			k.kernel.close()
			return nil
		case <-events:
		case <-timer.C:
		}
		k.mu.Lock()
		if k.known {
			k.reconcile()
		}
		pause := resync
		if len(k.missing) > 0 {
			pause = retry
		}
		k.mu.Unlock()
		timer.Reset(pause)
	}
}

// reconcile makes the interface what is wanted. It must be called with mu held.
func (k *Keeper) reconcile() {
	if k.kernel == nil {
		return
	}
	missing := make(map[netip.Addr]error)
	link, err := k.kernel.link(k.name)
	var present map[netip.Addr]address
	if err == nil {
		present, err = k.kernel.addresses(link)
	}
	if err != nil {
		err = fmt.Errorf("vip: interface %q: %w", k.name, err)
	}
	for _, addr := range k.wanted {
		if addr.IsLoopback() {
			continue
		}
		there, ok := present[addr]
		switch {
		case err != nil:
			missing[addr] = err
		case !ok:
			if err := k.put(link, addr); err != nil {
				missing[addr] = err
			}
		case there.unusable:
			missing[addr] = fmt.Errorf("vip: %s is on %s, but duplicate address detection has not passed it", addr, k.name)
		}
	}
	for addr, there := range present {
		if k.owns(addr, there) && !slices.Contains(k.wanted, addr) {
			k.remove(link, addr)
		}
	}
	k.publish(missing)
}

// owns tells whether an address that is there is the keeper's.
func (k *Keeper) owns(addr netip.Addr, there address) bool {
	k.marks = k.marks || there.marked
	return !addr.IsLoopback() && there.host && (there.marked || !k.marks && k.owned[addr])
}

func (k *Keeper) put(link int, addr netip.Addr) error {
	if err := k.kernel.add(link, addr); err != nil {
		return fmt.Errorf("vip: put %s on %s: %w", addr, k.name, err)
	}
	k.owned[addr] = true
	k.log.Info("put address on interface", "address", addr, "interface", k.name)
	return nil
}

func (k *Keeper) remove(link int, addr netip.Addr) {
	if err := k.kernel.remove(link, addr); err != nil {
		k.log.Error("cannot remove address from interface", "address", addr, "interface", k.name, "error", err)
		return
	}
	delete(k.owned, addr)
	k.log.Info("removed address from interface", "address", addr, "interface", k.name)
}

// publish takes in what is missing now, and logs and tells what changed.
func (k *Keeper) publish(missing map[netip.Addr]error) {
	changed := len(missing) != len(k.missing)
	for addr, err := range missing {
		if before := k.missing[addr]; before == nil || before.Error() != err.Error() {
			changed = true
			k.log.Error("address is missing", "address", addr, "error", err)
		}
	}
	k.missing = missing
	if changed {
		select {
		case k.changes <- struct{}{}:
		default:
		}
	}
}
