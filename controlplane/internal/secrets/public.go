package secrets

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// PublicKeyHash is the SHA-256 of the public key that belongs to a private key, as SubjectPublicKeyInfo (RFC 5280 section 4.1).
// The key is PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted. Errors never quote it.
func PublicKeyHash(key lb.PrivateKey) ([]byte, error) {
	rest := []byte(key.Reveal())
	defer clear(rest)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no private key in PEM form")
		}
		defer clear(block.Bytes)
		var parsed any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			parsed, err = x509.ParseECPrivateKey(block.Bytes)
		case "EC PARAMETERS": // OpenSSL writes them in front of the key
			continue
		default:
			return nil, errors.New("the PEM block is not an unencrypted private key")
		}
		if err != nil {
			// The parser's own words may hold parts of what it read.
			return nil, errors.New("the private key does not parse")
		}
		signer, ok := parsed.(crypto.Signer)
		if !ok {
			return nil, errors.New("a private key of this kind cannot sign")
		}
		spki, err := x509.MarshalPKIXPublicKey(signer.Public())
		if err != nil {
			return nil, errors.New("a private key of this kind is not supported")
		}
		sum := sha256.Sum256(spki)
		return sum[:], nil
	}
}
