package secrets

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

const name = "projects/p/loadBalancers/l/certificates/c"

func kekOf(letter string) []byte { return []byte(strings.Repeat(letter, KeySize)) }

func sealerOf(t testing.TB, letters ...string) *Sealer {
	t.Helper()
	var keys [][]byte
	for _, letter := range letters {
		keys = append(keys, kekOf(letter))
	}
	s, err := New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ecKey(t testing.TB) (lb.PrivateKey, []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemKey("PRIVATE KEY", der), spki(t, private.Public())
}

func pemKey(kind string, der []byte) lb.PrivateKey {
	return lb.NewPrivateKey(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func spki(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

func TestSealThenOpen(t *testing.T) {
	t.Parallel()
	s := sealerOf(t, "a")
	key, hash := ecKey(t)
	sealed, err := s.Seal(name, key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sealed.SPKI, hash) {
		t.Errorf("hash %x, want %x", sealed.SPKI, hash)
	}
	opened, err := s.Open(name, sealed)
	if err != nil || opened.Reveal() != key.Reveal() {
		t.Fatalf("another key came out, or %v", err)
	}
	again, err := s.Seal(name, key)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2][]byte{
		"ciphertexts": {sealed.Ciphertext, again.Ciphertext}, "nonces": {sealed.Nonce, again.Nonce},
		"wrapped keys": {sealed.Wrapped, again.Wrapped}, "wrapping nonces": {sealed.WrapNonce, again.WrapNonce},
	} {
		if bytes.Equal(pair[0], pair[1]) {
			t.Errorf("two sealings have the same %s", what)
		}
	}
	for _, part := range [][]byte{sealed.Ciphertext, sealed.Wrapped} {
		if bytes.Contains(part, []byte("PRIVATE")) || bytes.Contains(part, kekOf("a")[:8]) {
			t.Error("a sealed key shows plain text")
		}
	}
}

func TestAlteredKeysDoNotOpen(t *testing.T) {
	t.Parallel()
	s := sealerOf(t, "a")
	key, _ := ecKey(t)
	other, otherHash := ecKey(t)
	sealed, err := s.Seal(name, key)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := s.Seal(name, other)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b }
	tests := []struct {
		name, object string
		alter        func(*lb.SealedKey)
		want         error
	}{
		{"moved to another certificate", name + "2", func(*lb.SealedKey) {}, ErrCorrupt},
		{"ciphertext", name, func(k *lb.SealedKey) { k.Ciphertext = flip(k.Ciphertext) }, ErrCorrupt},
		{"ciphertext of another key", name, func(k *lb.SealedKey) { k.Ciphertext, k.Nonce = foreign.Ciphertext, foreign.Nonce }, ErrCorrupt},
		{"no ciphertext", name, func(k *lb.SealedKey) { k.Ciphertext = nil }, ErrCorrupt},
		{"nonce", name, func(k *lb.SealedKey) { k.Nonce = flip(k.Nonce) }, ErrCorrupt},
		{"short nonce", name, func(k *lb.SealedKey) { k.Nonce = k.Nonce[1:] }, ErrCorrupt},
		{"wrapped key", name, func(k *lb.SealedKey) { k.Wrapped = flip(k.Wrapped) }, ErrCorrupt},
		{"wrapping nonce", name, func(k *lb.SealedKey) { k.WrapNonce = nil }, ErrCorrupt},
		{"hash of another key", name, func(k *lb.SealedKey) { k.SPKI = otherHash }, ErrCorrupt},
		{"unknown key", name, func(k *lb.SealedKey) { k.KEKID = flip(k.KEKID) }, ErrUnknownKey},
	}
	for _, test := range tests {
		altered := *sealed
		test.alter(&altered)
		opened, err := s.Open(test.object, &altered)
		if !errors.Is(err, test.want) || !opened.IsZero() {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	if _, err := s.Open(name, nil); err == nil {
		t.Error("nothing opens")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	key, _ := ecKey(t)
	old := sealerOf(t, "a")
	sealed, err := old.Seal(name, key)
	if err != nil {
		t.Fatal(err)
	}
	both := sealerOf(t, "b", "a")
	if opened, err := both.Open(name, sealed); err != nil || opened.Reveal() != key.Reveal() {
		t.Errorf("the old key does not open: %v", err)
	}
	if !old.Current(sealed) || both.Current(sealed) || both.Current(nil) {
		t.Error("what the old key sealed is not told from what the new one sealed")
	}
	resealed, err := both.Seal(name, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Open(name, resealed); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
	if _, err := sealerOf(t, "b").Open(name, resealed); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for want, keys := range map[string][][]byte{
		"no key-encryption key":      nil,
		"key 2 has 31 bytes":         {kekOf("a"), kekOf("b")[1:]},
		"key 2 is the same as key 1": {kekOf("a"), kekOf("a")},
	} {
		if _, err := New(keys...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPublicKeyHash(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(edPrivate)
	if err != nil {
		t.Fatal(err)
	}
	withParameters := lb.NewPrivateKey("-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n" + pemKey("EC PRIVATE KEY", sec1).Reveal())
	for what, test := range map[string]struct {
		key    lb.PrivateKey
		public any
	}{
		"PKCS #1":                {pemKey("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), rsaKey.Public()},
		"SEC 1":                  {pemKey("EC PRIVATE KEY", sec1), curve.Public()},
		"SEC 1 after parameters": {withParameters, curve.Public()},
		"PKCS #8":                {pemKey("PRIVATE KEY", pkcs8), edPublic},
	} {
		if got, err := PublicKeyHash(test.key); err != nil || !bytes.Equal(got, spki(t, test.public)) {
			t.Errorf("%s: got %x, %v", what, got, err)
		}
	}
	const secret = "sUpErSeCrEt"
	for what, text := range map[string]string{
		"no PEM": secret, "empty": "", "encrypted": string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte(secret)})),
		"garbage": pemKey("PRIVATE KEY", []byte(secret)).Reveal(), "EC garbage": pemKey("EC PRIVATE KEY", []byte(secret)).Reveal(),
	} {
		_, err := PublicKeyHash(lb.NewPrivateKey(text))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", what, err)
		}
		if _, err := sealerOf(t, "a").Seal(name, lb.NewPrivateKey(text)); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: sealed, or %v", what, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := sealerOf(f, "a")
	key, _ := ecKey(f)
	sealed, err := s.Seal(name, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed.KEKID, sealed.Wrapped, sealed.WrapNonce, sealed.Ciphertext, sealed.Nonce, sealed.SPKI)
	f.Fuzz(func(t *testing.T, kek, wrapped, wrapNonce, ciphertext, nonce, spki []byte) {
		opened, err := s.Open(name, &lb.SealedKey{KEKID: kek, Wrapped: wrapped, WrapNonce: wrapNonce, Ciphertext: ciphertext, Nonce: nonce, SPKI: spki})
		if err == nil && opened.Reveal() != key.Reveal() {
			t.Error("a key was forged")
		}
	})
}
