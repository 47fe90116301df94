package route

import (
	"math/bits"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Decision is what becomes of a request. The zero value does not occur.
type Decision struct {
	// Policy is the index of the policy that decided, in Table.Policies; -1 where
	// none did, and the listener's default pool serves.
	Policy int
	// Action of that policy; 0 where none decided.
	Action lb.PolicyAction
	// Status of the answer; 0 where a pool gives it.
	Status uint16

	table  *Table
	chosen *compiled
}

// Name gives the name of the policy that decided, "" for none.
func (d Decision) Name() string {
	if d.Policy < 0 {
		return ""
	}
	return d.table.policies[d.Policy].Name
}

// Pool chooses the pool of RedirectToPool, by weight where there are several:
// random is uniform over all its values, and equal numbers choose alike, so that
// a hash of the client keeps it with one pool. The result is an index into
// Table.Pools; -1 for other actions.
func (d Decision) Pool(random uint64) int {
	if d.Action != lb.RedirectToPool {
		return -1
	}
	pools, upTo := d.chosen.pools, d.chosen.upTo
	if len(pools) == 1 {
		return int(pools[0])
	}
	share, _ := bits.Mul64(random, uint64(upTo[len(upTo)-1]))
	i := 0
	for uint64(upTo[i]) <= share {
		i++
	}
	return int(pools[i])
}

// Shares lists the pools that [Decision.Pool] chooses from: those that are
// usable and have a weight. For explaining; it allocates.
func (d Decision) Shares() []Share {
	if d.Action != lb.RedirectToPool {
		return nil
	}
	var shares []Share
	before := uint32(0)
	for i, pool := range d.chosen.pools {
		shares = append(shares, Share{d.table.pools[pool], uint16(d.chosen.upTo[i] - before)})
		before = d.chosen.upTo[i]
	}
	return shares
}

// Response gives content type and body of FixedResponse.
func (d Decision) Response() (contentType, body string) {
	if d.Action != lb.FixedResponse {
		return "", ""
	}
	p := &d.table.policies[d.Policy]
	return p.ContentType, p.Body
}

// AppendLocation appends the Location of RedirectToURL and RedirectPrefix to
// dst; nothing for other actions.
func (d Decision) AppendLocation(dst []byte, r *Request) []byte {
	switch d.Action {
	case lb.RedirectToURL, lb.RedirectPrefix:
		return d.chosen.location.append(dst, r)
	default:
		return dst
	}
}
