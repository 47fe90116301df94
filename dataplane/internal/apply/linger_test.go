package apply

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const (
	vip1 = "192.0.2.1"
	vip2 = "192.0.2.2"
	vip3 = "2001:db8::1"
)

// lingering runs a test in a bubble on a node that serves l and m on vip1 and
// vip2, which the agent announces, from pool p.
func lingering(t *testing.T, test func(t *testing.T, n *node, agent *announcements)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent := announcing(vip1, vip2, vip3)
		n := newNode(t, agent)
		n.put(check("h", second), pool("p", "h", nil), listener("l", "p", 80, vip1, vip2), listener("m", "p", 81, vip1, vip2))
		n.engine.told()
		test(t, n, agent)
		n.pass(2 * second)
		checkBooks(t, n)
	})
}

// pass lets time pass, on the bubble's clock.
func (n *node) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// isOpen checks on which addresses l and m are open once all is quiet.
func (n *node) isOpen(l, m string) {
	n.t.Helper()
	synctest.Wait()
	if gotL, gotM := n.engine.open("l"), n.engine.open("m"); gotL != l || gotM != m {
		n.t.Errorf("l is open on %v, m on %v, want %v and %v", gotL, gotM, l, m)
	}
}

const both = "[192.0.2.1 192.0.2.2]"

func TestRemovedLingersForTimeout(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.remove(listenerRef("l"), listenerRef("m"), poolRef("p"), checkRef("h"))
		n.pass(2*second - 1)
		n.isOpen(both, both)
		n.expect()
		n.pass(1)
		n.isOpen("none", "none")
		n.expect("remove l", "remove m", "remove p")
	})
}

func TestRemovedLingersUntilWithdrawn(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, agent *announcements) {
		n.remove(listenerRef("l"), listenerRef("m"))
		n.Wake()
		n.isOpen(both, both)
		agent.withdraw(vip1)
		n.Wake()
		n.isOpen("[192.0.2.2]", "[192.0.2.2]")
		agent.withdraw(vip2)
		n.Wake()
		n.isOpen("none", "none")
	})
}

func TestOnlyAnnouncedAddressesLinger(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, agent *announcements) {
		agent.withdraw(vip1)
		n.remove(listenerRef("l"), listenerRef("m"))
		n.isOpen("[192.0.2.2]", "[192.0.2.2]")
	})
}

func TestListenerOfServedAddressGoesAtOnce(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.remove(listenerRef("l"))
		n.isOpen("none", both)
	})
}

func TestListenerMovesToOtherName(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.apply(n.delta([]*snapshot.Resource{listener("k", "p", 80, vip1, vip2)}, listenerRef("l")))
		n.expect("remove l", "set k") // in this order: they have one port
	})
}

func TestAddressLeaves(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.put(listener("l", "p", 80, vip3), listener("m", "p", 81, vip3))
		n.isOpen("[2001:db8::1 192.0.2.1 192.0.2.2]", "[2001:db8::1 192.0.2.1 192.0.2.2]")
		n.pass(second)
		// Another change of the listener neither ends nor prolongs the wait.
		n.put(listenerWith("l", "", 80, 2*second, vip3))
		n.isOpen("[2001:db8::1 192.0.2.1 192.0.2.2]", "[2001:db8::1 192.0.2.1 192.0.2.2]")
		n.put(listener("m", "p", 81, vip3, vip2))
		n.isOpen("[2001:db8::1 192.0.2.1]", "[2001:db8::1 192.0.2.2 192.0.2.1]")
		n.pass(second)
		n.isOpen("[2001:db8::1]", "[2001:db8::1 192.0.2.2]")
	})
}

func TestPortChangesWithAddress(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.put(listener("l", "p", 8080, vip1, vip2))
		n.expect("set l")
		n.isOpen(both, both)
		n.put(listener("l", "p", 80, vip3), listener("m", "p", 81, vip3))
		// m keeps its port and thereby the old addresses, l does not.
		n.isOpen("[2001:db8::1]", "[2001:db8::1 192.0.2.1 192.0.2.2]")
		n.put(listener("m", "p", 82, vip3))
		n.isOpen("[2001:db8::1]", "[2001:db8::1]")
	})
}

func TestComesBackWhileItLingers(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.remove(listenerRef("l"), listenerRef("m"), poolRef("p"), checkRef("h"))
		n.pass(second)
		n.put(pool("q", "", nil), listener("l", "q", 80, vip1))
		// vip1 is served again, so that m need not wait for it to be withdrawn.
		n.isOpen(both, "[192.0.2.2]")
		n.expect("set q", "set m", "set l")
		n.pass(second)
		n.isOpen("[192.0.2.1]", "none")
		n.expect("set l", "remove m", "remove p")
	})
}

func TestRemovedAgainWhileItLingers(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.put(listener("l", "p", 80, vip3), listener("m", "p", 81, vip3))
		n.pass(second)
		n.remove(listenerRef("l"), listenerRef("m"))
		n.isOpen("[2001:db8::1 192.0.2.1 192.0.2.2]", "[2001:db8::1 192.0.2.1 192.0.2.2]")
		n.pass(second)
		n.isOpen("[2001:db8::1]", "[2001:db8::1]")
		n.pass(second)
		n.isOpen("none", "none")
	})
}

func TestRefusedChangeKeepsLingering(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.put(listener("l", "p", 80, vip2), listener("m", "p", 81, vip2))
		n.put(listenerWith("l", "p", 80, refusedIdle, vip3))
		n.isOpen("[192.0.2.2 192.0.2.1]", "[192.0.2.2 192.0.2.1]")
		n.pass(2 * second)
		n.isOpen("[192.0.2.2]", "[192.0.2.2]")
	})
}

func TestViewOfLingering(t *testing.T) {
	lingering(t, func(t *testing.T, n *node, _ *announcements) {
		n.apply(n.delta([]*snapshot.Resource{listener("m", "p", 81, vip2)}, listenerRef("l")))
		err := n.View(t.Context(), func(v View) {
			var seen []string
			for name, l := range v.Listeners() {
				seen = append(seen, fmt.Sprint(name, l.InForce, l.VIPs, l.Leaving, l.DefaultPool))
			}
			slices.Sort(seen)
			want := []string{"lfalse [192.0.2.1] [192.0.2.1]p", "mtrue [192.0.2.2] [192.0.2.1]p"}
			if !slices.Equal(seen, want) {
				t.Errorf("listeners %q, want %q", seen, want)
			}
			if got := len(v.Addresses()); got != 2 {
				t.Errorf("%d addresses, want both", got)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
