package state

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

const (
	addressesName = "addresses"
	// maxAddressesBytes is more than the VIPs of any node take.
	maxAddressesBytes = 4 << 20
)

// Addresses gives the VIPs that the node put on its interface, as SaveAddresses
// left them, or none. Only kernels that keep no mark on an address need them.
func (f *File) Addresses() ([]netip.Addr, error) {
	path := filepath.Join(filepath.Dir(f.path), addressesName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxAddressesBytes {
		err = fmt.Errorf("%d bytes are more than all addresses take", info.Size())
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("state: addresses: %w", err)
	}
	var list []netip.Addr
	for line := range strings.Lines(string(b)) {
		addr, err := netip.ParseAddr(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("state: %s: %w", path, err)
		}
		list = append(list, addr)
	}
	return list, nil
}

// SaveAddresses keeps the VIPs that the node put on its interface.
func (f *File) SaveAddresses(list []netip.Addr) error {
	var b strings.Builder
	for _, addr := range list {
		b.WriteString(addr.String())
		b.WriteByte('\n')
	}
	if err := replace(filepath.Join(filepath.Dir(f.path), addressesName), []byte(b.String())); err != nil {
		return fmt.Errorf("state: save addresses: %w", err)
	}
	return nil
}
