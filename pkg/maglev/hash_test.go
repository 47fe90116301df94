package maglev

import (
	"math"
	"math/bits"
	"net/netip"
	"testing"
)

// TestXXH64 holds values that another implementation (github.com/cespare/xxhash) gave.
func TestXXH64(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		input         string
		plain, offset uint64 // with the seeds 0 and seedOffset
	}{
		{"", 0xef46db3751d8e999, 0xd5da277a683f9224},
		{"a", 0xd24ec4f1a98c6e5b, 0xdee337a530d49334},
		{"abcd", 0xde0327b0d25d92cc, 0x1569d96e4b8d992d},
		{"12345678", 0xd2d02f08cf7cfd4a, 0x01b0b8810aaa3ff6},
		{"123456789abc", 0xa5b5c36f99848384, 0x85cd46b58d0ed9b1},
		{"maglev-backend-0001", 0xbb59ff2fd260018e, 0x424a24f9967c9664},
		{"the quick brown fox jumps over t", 0x62474d5fc1a1e95d, 0x801a40ce19cade69},
		{"the quick brown fox jumps over the lazy dog, and then 71 bytes of it al", 0xdb670ea55072579c, 0x1c47256935d6da03},
	} {
		if got := xxh64([]byte(c.input), 0); got != c.plain {
			t.Errorf("xxh64(%q, 0) = %#016x, want %#016x", c.input, got, c.plain)
		}
		if got := xxh64([]byte(c.input), seedOffset); got != c.offset {
			t.Errorf("xxh64(%q, seedOffset) = %#016x, want %#016x", c.input, got, c.offset)
		}
	}
}

// TestKeys holds values that another implementation of XXH64 gave for the documented layouts.
func TestKeys(t *testing.T) {
	t.Parallel()
	const tcp, udp = 6, 17
	for _, c := range []struct {
		proto    uint8
		src, dst string
		want     uint64
	}{
		{tcp, "192.0.2.1:40000", "203.0.113.10:443", 0x8a83e6efdc042ff0},
		{tcp, "[::ffff:192.0.2.1]:40000", "203.0.113.10:443", 0x8a83e6efdc042ff0},
		{udp, "192.0.2.1:40000", "203.0.113.10:443", 0x80617e5591f76f48},
		{tcp, "[2001:db8::1]:40000", "[2001:db8::10]:443", 0x15c9350cad24debb},
		{tcp, "[2001:db8::1%eth0]:40000", "[2001:db8::10]:443", 0x15c9350cad24debb},
	} {
		if got := FlowKey(c.proto, netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)); got != c.want {
			t.Errorf("FlowKey(%d, %s, %s) = %#016x, want %#016x", c.proto, c.src, c.dst, got, c.want)
		}
	}
	for addr, want := range map[string]uint64{
		"192.0.2.1":        0x9cef273e56cc317a,
		"::ffff:192.0.2.1": 0x9cef273e56cc317a,
		"2001:db8::1":      0x630b05e21f48f746,
		"2001:db8::1%eth0": 0x630b05e21f48f746,
	} {
		if got := SourceKey(netip.MustParseAddr(addr)); got != want {
			t.Errorf("SourceKey(%s) = %#016x, want %#016x", addr, got, want)
		}
	}
}

// TestFlowKeyAvalanche flips each bit of the 5-tuple: every bit of the key must follow about every second time.
func TestFlowKeyAvalanche(t *testing.T) {
	t.Parallel()
	const rounds = 2000
	r := newRand()
	for bit := range 37 * 8 {
		var flips [64]int
		for range rounds {
			var tuple [37]byte
			for i := range tuple {
				tuple[i] = byte(r.Uint32())
			}
			before := keyOf(tuple)
			tuple[bit/8] ^= 1 << (bit % 8)
			for changed := before ^ keyOf(tuple); changed != 0; changed &= changed - 1 {
				flips[bits.TrailingZeros64(changed)]++
			}
		}
		for out, n := range flips {
			if share := float64(n) / rounds; math.Abs(share-0.5) > 0.07 {
				t.Errorf("input bit %d flips key bit %d in %.1f %% of the cases", bit, out, 100*share)
			}
		}
	}
}

func keyOf(b [37]byte) uint64 {
	src, dst := netip.AddrFrom16([16]byte(b[0:16])), netip.AddrFrom16([16]byte(b[16:32]))
	return FlowKey(b[36], netip.AddrPortFrom(src, uint16(b[32])<<8|uint16(b[33])), netip.AddrPortFrom(dst, uint16(b[34])<<8|uint16(b[35])))
}

// TestFlowKeySequentialPorts: the most regular of clients, one address and ports in a row, still spreads.
func TestFlowKeySequentialPorts(t *testing.T) {
	t.Parallel()
	table := mustBuild(t, DefaultSize, fleet(10, 1))
	client, vip := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddrPort("203.0.113.10:80")
	var count [10]int
	for port := range uint16(60_000) {
		count[table.Lookup(FlowKey(6, netip.AddrPortFrom(client, port), vip))]++
	}
	for i, n := range count {
		if n < 5600 || n > 6400 {
			t.Errorf("backend %d gets %d of 60,000 flows over 10 backends", i, n)
		}
	}
}

func TestKeysDoNotAllocate(t *testing.T) {
	src, dst := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("[2001:db8::10]:443")
	sum := uint64(0)
	if allocs := testing.AllocsPerRun(1000, func() { sum += FlowKey(6, src, dst) + SourceKey(src.Addr()) }); allocs != 0 {
		t.Errorf("%v allocations (sum %d)", allocs, sum)
	}
}

func BenchmarkFlowKey(b *testing.B) {
	dst := netip.MustParseAddrPort("203.0.113.10:443")
	src := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	key := uint64(0)
	for b.Loop() {
		key = FlowKey(6, netip.AddrPortFrom(src, uint16(key)), dst)
	}
}

func BenchmarkSourceKey(b *testing.B) {
	src := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		SourceKey(src)
	}
}
