package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// File is what a node keeps of its configuration over a restart: the state file's content.
type File struct {
	Version Version
	Set     *Set
	// LastGood holds the forms in force of those resources whose form in Set the node refused.
	LastGood *Set
}

// The state file is a header and two sections. All numbers are big endian.
//
//	 8 bytes  magic
//	 4 bytes  schema version
//	 4 bytes  length of the first section
//	 4 bytes  length of the second section
//	32 bytes  SHA-256 over all that stands before and after it
//	          two messages fiberlb.agent.v1.Delta, both full: Set with Version, and LastGood
const (
	fileMagic   = "fiberlb\x01"
	sumOffset   = len(fileMagic) + 12
	headerBytes = sumOffset + sha256.Size
)

// MarshalFile makes the bytes of a state file. It is an error where either set takes more than [MaxMessageSize].
func MarshalFile(f *File) ([]byte, error) {
	set, err := marshalSection(f.Version, f.Set)
	if err != nil {
		return nil, err
	}
	lastGood, err := marshalSection(Version{Digest: f.LastGood.Digest()}, f.LastGood)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, headerBytes+len(set)+len(lastGood))
	b = append(b, fileMagic...)
	b = binary.BigEndian.AppendUint32(b, SchemaVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(set)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(lastGood)))
	b = append(b, make([]byte, sha256.Size)...)
	b = append(b, set...)
	b = append(b, lastGood...)
	sum := fileSum(b)
	copy(b[sumOffset:], sum[:])
	return b, nil
}

// UnmarshalFile reads the bytes of a state file. An error tells what is wrong with it: truncated, damaged, or written by a
// later build; such a file is of no use.
func UnmarshalFile(b []byte) (*File, error) {
	if len(b) < len(fileMagic) || string(b[:len(fileMagic)]) != fileMagic {
		return nil, errors.New("snapshot: this is not a state file")
	}
	if len(b) < headerBytes {
		return nil, fmt.Errorf("snapshot: state file is truncated after %d bytes", len(b))
	}
	schema := binary.BigEndian.Uint32(b[len(fileMagic):])
	if schema == 0 || schema > SchemaVersion {
		return nil, fmt.Errorf("snapshot: state file has schema version %d, this build reads 1-%d", schema, SchemaVersion)
	}
	first := uint64(headerBytes) + uint64(binary.BigEndian.Uint32(b[len(fileMagic)+4:]))
	if have, want := uint64(len(b)), first+uint64(binary.BigEndian.Uint32(b[len(fileMagic)+8:])); have < want {
		return nil, fmt.Errorf("snapshot: state file is truncated after %d of %d bytes", have, want)
	} else if have > want {
		return nil, fmt.Errorf("snapshot: state file is damaged: %d bytes behind its end", have-want)
	}
	if fileSum(b) != [sha256.Size]byte(b[sumOffset:headerBytes]) {
		return nil, errors.New("snapshot: state file is damaged: its checksum does not fit")
	}
	f := new(File)
	var err error
	if f.Version, f.Set, err = unmarshalSection(b[headerBytes:first]); err != nil {
		return nil, err
	}
	if _, f.LastGood, err = unmarshalSection(b[first:]); err != nil {
		return nil, err
	}
	return f, nil
}

func marshalSection(version Version, set *Set) ([]byte, error) {
	d := Delta{Version: version, Full: true, Upserts: make([]*Resource, 0, set.Len())}
	for r := range set.All() {
		d.Upserts = append(d.Upserts, r)
	}
	b, err := proto.Marshal(d.Proto())
	if err != nil {
		return nil, fmt.Errorf("snapshot: state file: %w", err)
	}
	if len(b) > MaxMessageSize {
		return nil, fmt.Errorf("snapshot: state file: %d bytes are more than %d", len(b), MaxMessageSize)
	}
	return b, nil
}

func unmarshalSection(b []byte) (Version, *Set, error) {
	m := new(agentv1.Delta)
	if err := proto.Unmarshal(b, m); err != nil {
		return Version{}, nil, fmt.Errorf("snapshot: state file is damaged: %w", err)
	}
	d, err := DeltaFromProto(m)
	if err != nil {
		return Version{}, nil, fmt.Errorf("snapshot: state file is damaged: %w", err)
	}
	set, err := d.Apply(nil)
	if err != nil {
		return Version{}, nil, fmt.Errorf("snapshot: state file is damaged: %w", err)
	}
	return d.Version, set, nil
}

func fileSum(b []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(b[:sumOffset])
	h.Write(b[headerBytes:])
	return [sha256.Size]byte(h.Sum(nil))
}
