package state

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir)
	expect := func(want ...netip.Addr) {
		t.Helper()
		if got, err := f.Addresses(); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	expect()
	v4, v6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")
	for _, list := range [][]netip.Addr{{v4, v6}, {v6}, {}} {
		if err := f.SaveAddresses(list); err != nil {
			t.Fatal(err)
		}
		expect(list...)
	}
	path := filepath.Join(dir, addressesName)
	for _, bad := range []string{"203.0.113.1\nnonsense\n", "\n", strings.Repeat("x", maxAddressesBytes+1)} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := f.Addresses(); err == nil {
			t.Errorf("%.40q was read as %v", bad, list)
		}
	}
}
