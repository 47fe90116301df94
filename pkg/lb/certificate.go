package lb

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Limits of certificates, in bytes and counts.
const (
	MaxChainBytes = 256 << 10
	MaxKeyBytes   = 16 << 10
	maxChain      = 10 // certificates of a server's chain
)

// X509 parses the chain: for server and sni certificates the leaf comes first.
func (x *Certificate) X509() ([]*x509.Certificate, error) {
	certificates, problem := parseChain(x.Chain)
	if problem != "" {
		return nil, errors.New(problem)
	}
	return certificates, nil
}

// KeyHash is the SHA-256 of the public key (the DER of its
// SubjectPublicKeyInfo) that the leaf certifies. It equals Sealed.SPKI where
// the sealed key belongs to the chain.
func (x *Certificate) KeyHash() ([]byte, error) {
	chain, err := x.X509()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
	return sum[:], nil
}

// Fingerprint is the SHA-256 of the DER of the certificates in hexadecimal;
// for a single certificate, what everybody calls its fingerprint. Empty where
// the chain is not PEM.
func (x *Certificate) Fingerprint() string {
	hash := sha256.New()
	n := 0
	for rest := []byte(x.Chain); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		hash.Write(block.Bytes)
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// NeedsKey tells whether certificates of type t come with a private key.
func (t CertificateType) NeedsKey() bool { return t == CertServer || t == CertSNI }

// fill writes PEM without comments and headers; what is not PEM stays for the
// checks to complain about.
func (x *Certificate) fill() {
	x.Labels = filled(x.Labels)
	if len(x.Chain) <= MaxChainBytes {
		if blocks, ok := pemBlocks(x.Chain); ok {
			var out strings.Builder
			for _, b := range blocks {
				if b.Type != "CERTIFICATE" {
					return
				}
				out.Write(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes}))
			}
			x.Chain = out.String()
		}
	}
}

// pemBlocks decodes all blocks; ok is false where there is none or one is
// malformed (which pem.Decode silently skips).
func pemBlocks(text string) (blocks []*pem.Block, ok bool) {
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return blocks, len(blocks) > 0 && len(blocks) == strings.Count(text, "-----BEGIN ")
		}
		blocks = append(blocks, b)
	}
}

// parseChain gives the certificates, or what is wrong in words.
func parseChain(text string) ([]*x509.Certificate, string) {
	blocks, ok := pemBlocks(text)
	if !ok {
		return nil, "is not a chain of PEM certificates"
	}
	var chain []*x509.Certificate
	for i, b := range blocks {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			return nil, "holds a private key"
		}
		if b.Type != "CERTIFICATE" {
			return nil, fmt.Sprintf("holds a block of type %s", Quote(b.Type))
		}
		certificate, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Sprintf("block %d is not a certificate: %v", i+1, err)
		}
		chain = append(chain, certificate)
	}
	return chain, ""
}

// parseKey gives the private key, or what is wrong in words; never its text.
func parseKey(text string) (crypto.Signer, string) {
	blocks, ok := pemBlocks(text)
	if !ok {
		return nil, "is not PEM"
	}
	for _, b := range blocks {
		if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
			return nil, "is encrypted"
		}
		var key any
		var err error
		switch b.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		default:
			continue // parameters, or certificates that came along
		}
		if err != nil {
			return nil, "is not a private key in PKCS #8, PKCS #1 or SEC 1 form"
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, "is of a kind that does not sign"
		}
		return signer, ""
	}
	return nil, "holds no private key"
}

// weak tells why a public key is refused.
func weak(public any) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Sprintf("an RSA key of %d bits is too short", k.N.BitLen())
		}
		if k.N.BitLen() > 8192 {
			return fmt.Sprintf("an RSA key of %d bits is too long", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if name := k.Curve.Params().Name; name != "P-256" && name != "P-384" && name != "P-521" {
			return fmt.Sprintf("an ECDSA key on curve %s is not supported", name)
		}
	case ed25519.PublicKey:
	default:
		return "a key of this kind is not supported"
	}
	return ""
}

const keyRemedy = "use RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"

func (c *scope) certificate(path string, x *Certificate) {
	c.identity(path, &x.Info)
	known := enum(&c.checker, path+".type", x.Type)
	if known && !x.Type.NeedsKey() && !x.Key.IsZero() {
		c.report(path+".private_key", "remove it: whoever signs clients' certificates keeps that key", "does not go with a certificate of type %s", x.Type)
	}
	chain := c.chain(path+".certificate", x.Chain)
	if !known || len(chain) == 0 {
		return
	}
	if x.Type == CertClientCA {
		for i, ca := range chain {
			if !ca.BasicConstraintsValid || !ca.IsCA {
				c.report(path+".certificate", "give certificates of authorities", "certificate %d, %s, is not that of an authority", i+1, Quote(ca.Subject.String()))
			}
		}
		return
	}
	if len(chain) > maxChain {
		c.report(path+".certificate", "give the leaf and its intermediates", "there are %d certificates, more than %d", len(chain), maxChain)
	}
	if problem := weak(chain[0].PublicKey); problem != "" {
		c.report(path+".certificate", keyRemedy, "%s", problem)
	}
	if x.Type == CertSNI && len(chain[0].DNSNames) == 0 {
		c.report(path+".certificate", "use a certificate with subject alternative names, or type server", "%s has no DNS name that SNI could choose it by", Quote(chain[0].Subject.String()))
	}
	c.key(path+".private_key", x, chain)
}

func (c *scope) chain(path, text string) []*x509.Certificate {
	if text == "" {
		c.report(path, "give the certificate as PEM, leaf first", "is required")
		return nil
	}
	if len(text) > MaxChainBytes {
		c.report(path, "", "has %d bytes, more than %d", len(text), MaxChainBytes)
		return nil
	}
	chain, problem := parseChain(text)
	switch {
	case strings.HasPrefix(problem, "holds a private key"):
		c.report(path, "move the key to private_key", "%s", problem)
	case problem != "":
		c.report(path, `give PEM blocks "BEGIN CERTIFICATE", leaf first`, "%s", problem)
	}
	return chain
}

// key checks the private key against the chain; without one, the stored key.
func (c *scope) key(path string, x *Certificate, chain []*x509.Certificate) {
	if x.Key.IsZero() {
		hash := sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
		switch {
		case x.Sealed == nil:
			c.report(path, "give the private key as PEM", "is required, since no key is stored for this certificate")
		case !bytes.Equal(hash[:], x.Sealed.SPKI):
			c.report(path, "give the private key that belongs to the new certificate", "is required, since the stored key does not belong to this certificate")
		}
		return
	}
	if n := len(x.Key.Reveal()); n > MaxKeyBytes {
		c.report(path, "", "has %d bytes, more than %d", n, MaxKeyBytes)
		return
	}
	key, problem := parseKey(x.Key.Reveal())
	switch {
	case problem == "is encrypted":
		c.report(path, "decrypt it first: openssl pkey -in FILE", "%s", problem)
	case problem != "":
		c.report(path, "give the private key as PEM", "%s", problem)
	case !belongs(key, chain[0]):
		remedy := "give the key that belongs to the first certificate"
		for i, other := range chain[1:] {
			if belongs(key, other) {
				remedy = fmt.Sprintf("put certificate %d first: the leaf leads the chain", i+2)
			}
		}
		c.report(path, remedy, "does not belong to the certificate %s", Quote(chain[0].Subject.String()))
	}
}

func belongs(key crypto.Signer, certificate *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

// dropStaleKey forgets a stored key that no longer belongs to the chain, which
// a key in the draft replaces.
func (x *Certificate) dropStaleKey() {
	if x.Sealed == nil {
		return
	}
	if hash, err := x.KeyHash(); x.Type == CertClientCA || err != nil || !bytes.Equal(hash, x.Sealed.SPKI) {
		x.Sealed = nil
	}
}
