package maglev

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Seeds keep the hashes of this package independent of one another. They are arbitrary, and part of HashVersion.
const (
	seedOffset uint64 = 0x6d61676c65762d31
	seedSkip   uint64 = 0x6d61676c65762d32
	seedFlow   uint64 = 0x6d61676c65762d33
	seedSource uint64 = 0x6d61676c65762d34
)

// FlowKey returns the key of a flow: XXH64 of its 5-tuple, laid out in 40 bytes as the source address, the destination
// address (the VIP), the source port, the destination port (all big endian, IPv4 addresses mapped into IPv6), the IP
// protocol number and three zeros. An IPv4 address and its IPv4-mapped form give the same key; zones do not count, since they
// name interfaces of one node.
//
// The key depends on nothing secret or random, so a client can choose ports that lead to one backend.
func FlowKey(proto uint8, src, dst netip.AddrPort) uint64 {
	var b [40]byte
	source, destination := src.Addr().As16(), dst.Addr().As16()
	copy(b[0:16], source[:])
	copy(b[16:32], destination[:])
	binary.BigEndian.PutUint16(b[32:], src.Port())
	binary.BigEndian.PutUint16(b[34:], dst.Port())
	b[36] = proto
	return xxh64(b[:], seedFlow)
}

// SourceKey returns the key of a client address, for persistence by source: XXH64 of its 16 bytes, IPv4 mapped into IPv6
// and without its zone, as in FlowKey.
func SourceKey(addr netip.Addr) uint64 {
	b := addr.As16()
	return xxh64(b[:], seedSource)
}

const (
	prime1 uint64 = 0x9e3779b185ebca87
	prime2 uint64 = 0xc2b2ae3d27d4eb4f
	prime3 uint64 = 0x165667b19e3779f9
	prime4 uint64 = 0x85ebca77c2b2ae63
	prime5 uint64 = 0x27d4eb2f165667c5
)

// xxh64 is XXH64 of the xxHash specification, version 0.1.1. It stands here because its value is a contract between nodes,
// which a dependency's upgrade must not touch.
func xxh64(b []byte, seed uint64) uint64 {
	length := uint64(len(b))
	h := seed + prime5
	if len(b) >= 32 {
		v1, v2, v3, v4 := seed+prime1+prime2, seed+prime2, seed, seed-prime1
		for ; len(b) >= 32; b = b[32:] {
			v1 = round(v1, binary.LittleEndian.Uint64(b[0:8]))
			v2 = round(v2, binary.LittleEndian.Uint64(b[8:16]))
			v3 = round(v3, binary.LittleEndian.Uint64(b[16:24]))
			v4 = round(v4, binary.LittleEndian.Uint64(b[24:32]))
		}
		h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
		h = (h^round(0, v1))*prime1 + prime4
		h = (h^round(0, v2))*prime1 + prime4
		h = (h^round(0, v3))*prime1 + prime4
		h = (h^round(0, v4))*prime1 + prime4
	}
	h += length
	for ; len(b) >= 8; b = b[8:] {
		h ^= round(0, binary.LittleEndian.Uint64(b))
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(b)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h ^= uint64(c) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	return avalanche(h)
}

func round(lane, input uint64) uint64 {
	return bits.RotateLeft64(lane+input*prime2, 31) * prime1
}

// avalanche is XXH64's last step: a permutation of 64-bit numbers in which every input bit reaches every output bit.
func avalanche(h uint64) uint64 {
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}
