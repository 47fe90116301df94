// Package secrets owns how private keys lie in the store: under envelope encryption, AES-256-GCM both times (NIST SP 800-38D).
//
// Every version of a key has a random data key of its own, which is wrapped by the key-encryption key of the controller's key
// file. Both ciphertexts are bound to the full name of the certificate, so that whoever may write to the store still cannot move
// one certificate's key to another. Plaintext appears in no error, no log line and no formatting.
package secrets

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// KeySize is the length of key-encryption keys and data keys in bytes.
const KeySize = 32

// kekIDSize is how much of a key-encryption key's hash names it.
const kekIDSize = 8

// ErrUnknownKey tells that a key was sealed by a key-encryption key which the key file does not hold.
var ErrUnknownKey = errors.New("the key file does not hold the key that sealed it")

// ErrCorrupt tells that a sealed key was altered, or belongs to another certificate.
var ErrCorrupt = errors.New("altered, or sealed for another certificate")

// Sealer seals and opens private keys. It is immutable and may be used from many goroutines.
type Sealer struct {
	keys []kek // the first one seals, all open
}

type kek struct {
	id   []byte
	aead cipher.AEAD
}

// New makes a sealer of key-encryption keys of [KeySize] bytes each. The first one seals; all open, which is how keys are
// rotated: put the new one in front, and leave the old ones until nothing is sealed by them any more.
func New(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("secrets: no key-encryption key")
	}
	s := &Sealer{}
	for i, key := range keys {
		if len(key) != KeySize {
			return nil, fmt.Errorf("secrets: key %d has %d bytes, want %d", i+1, len(key), KeySize)
		}
		aead, err := newAEAD(key)
		if err != nil {
			return nil, fmt.Errorf("secrets: key %d: %w", i+1, err)
		}
		sum := sha256.Sum256(key)
		id := sum[:kekIDSize]
		for j, other := range s.keys {
			if bytes.Equal(other.id, id) {
				return nil, fmt.Errorf("secrets: key %d is the same as key %d", i+1, j+1)
			}
		}
		s.keys = append(s.keys, kek{id: id, aead: aead})
	}
	return s, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Seal encrypts the private key of the certificate of that full name. The key has to be one that [PublicKeyHash] understands.
func (s *Sealer) Seal(fullName string, key lb.PrivateKey) (*lb.SealedKey, error) {
	spki, err := PublicKeyHash(key)
	if err != nil {
		return nil, fmt.Errorf("secrets: seal the key of %s: %w", fullName, err)
	}
	// One read for all that is random: data key and both nonces.
	random := make([]byte, KeySize+2*nonceSize)
	defer clear(random)
	if _, err := io.ReadFull(rand.Reader, random); err != nil {
		return nil, fmt.Errorf("secrets: seal the key of %s: %w", fullName, err)
	}
	dataKey := random[:KeySize]
	nonce := bytes.Clone(random[KeySize : KeySize+nonceSize])
	wrapNonce := bytes.Clone(random[KeySize+nonceSize:])
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, fmt.Errorf("secrets: seal the key of %s: %w", fullName, err)
	}
	plain := []byte(key.Reveal())
	defer clear(plain)
	with := s.keys[0]
	return &lb.SealedKey{
		KEKID:      bytes.Clone(with.id),
		Wrapped:    with.aead.Seal(nil, wrapNonce, dataKey, []byte(fullName)),
		WrapNonce:  wrapNonce,
		Ciphertext: aead.Seal(nil, nonce, plain, []byte(fullName)),
		Nonce:      nonce,
		SPKI:       spki,
	}, nil
}

// nonceSize is that of GCM with its standard 96-bit nonces.
const nonceSize = 12

// Open decrypts what [Sealer.Seal] made for the same full name. Errors: [ErrUnknownKey], [ErrCorrupt].
func (s *Sealer) Open(fullName string, sealed *lb.SealedKey) (lb.PrivateKey, error) {
	if sealed == nil {
		return lb.PrivateKey{}, fmt.Errorf("secrets: open the key of %s: there is none", fullName)
	}
	with := s.find(sealed.KEKID)
	if with == nil {
		return lb.PrivateKey{}, fmt.Errorf("secrets: open the key of %s: %w (its id is %x)", fullName, ErrUnknownKey, sealed.KEKID)
	}
	corrupt := func() (lb.PrivateKey, error) {
		return lb.PrivateKey{}, fmt.Errorf("secrets: open the key of %s: %w", fullName, ErrCorrupt)
	}
	if len(sealed.WrapNonce) != nonceSize || len(sealed.Nonce) != nonceSize {
		return corrupt()
	}
	dataKey, err := with.aead.Open(nil, sealed.WrapNonce, sealed.Wrapped, []byte(fullName))
	if err != nil || len(dataKey) != KeySize {
		return corrupt()
	}
	defer clear(dataKey)
	aead, err := newAEAD(dataKey)
	if err != nil {
		return corrupt()
	}
	plain, err := aead.Open(nil, sealed.Nonce, sealed.Ciphertext, []byte(fullName))
	if err != nil {
		return corrupt()
	}
	defer clear(plain)
	key := lb.NewPrivateKey(string(plain))
	// The hash lies beside the ciphertext in the clear; decisions are made by it, so it has to be the key's own.
	if spki, err := PublicKeyHash(key); err != nil || subtle.ConstantTimeCompare(spki, sealed.SPKI) != 1 {
		return corrupt()
	}
	return key, nil
}

// Current tells whether the key that seals now is the one that sealed: after a rotation, keys for which it is not wait for
// being sealed again.
func (s *Sealer) Current(sealed *lb.SealedKey) bool {
	return sealed != nil && bytes.Equal(s.keys[0].id, sealed.KEKID)
}

func (s *Sealer) find(id []byte) *kek {
	for i := range s.keys {
		if bytes.Equal(s.keys[i].id, id) {
			return &s.keys[i]
		}
	}
	return nil
}
