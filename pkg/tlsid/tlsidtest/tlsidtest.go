// Package tlsidtest makes certificate authorities and certificates for tests, as PEM files in the test's temporary folder.
package tlsidtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// CA is an authority that lives as long as its test.
type CA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// Files are the paths of one certificate, its private key and its authority, as --tls-cert, --tls-key and --tls-ca want them.
type Files struct {
	Cert, Key, CA string
}

// Leaf says whom a certificate names. All are good for both ends of a connection.
type Leaf struct {
	CommonName string
	DNSNames   []string
	IPs        []net.IP
	URIs       []string
	NotAfter   time.Time // zero: an hour from now
}

// NewCA makes an authority of its own key.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber:          serial(t),
		Subject:               pkix.Name{CommonName: "fiberlb test authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &CA{certificate: certificate, key: key, pem: pemBlock("CERTIFICATE", der)}
}

// Issue writes a fresh certificate, its key and the authority into a new temporary folder.
func (ca *CA) Issue(t testing.TB, leaf Leaf) Files {
	t.Helper()
	dir := t.TempDir()
	files := Files{
		Cert: filepath.Join(dir, "tls.crt"),
		Key:  filepath.Join(dir, "tls.key"),
		CA:   filepath.Join(dir, "ca.crt"),
	}
	ca.Reissue(t, files, leaf)
	return files
}

// Reissue replaces the three files, each by a rename, with a fresh certificate, its key and this authority.
func (ca *CA) Reissue(t testing.TB, files Files, leaf Leaf) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t),
		Subject:      pkix.Name{CommonName: leaf.CommonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     leaf.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     leaf.DNSNames,
		IPAddresses:  leaf.IPs,
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	for _, text := range leaf.URIs {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, files.Cert, pemBlock("CERTIFICATE", der))
	replace(t, files.Key, pemBlock("PRIVATE KEY", keyDER))
	replace(t, files.CA, ca.pem)
}

// Server issues a certificate for localhost, 127.0.0.1 and ::1.
func (ca *CA) Server(t testing.TB) Files {
	t.Helper()
	return ca.Issue(t, Leaf{
		CommonName: "controller",
		DNSNames:   []string{"localhost"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	})
}

// Client issues an operator's certificate: a common name and nothing else.
func (ca *CA) Client(t testing.TB, commonName string) Files {
	t.Helper()
	return ca.Issue(t, Leaf{CommonName: commonName})
}

// Node issues the certificate of the named node, bound to it by the URI SAN fiberlb://node/<name>.
func (ca *CA) Node(t testing.TB, name string) Files {
	t.Helper()
	return ca.Issue(t, Leaf{CommonName: name, URIs: []string{"fiberlb://node/" + name}})
}

// PEM is the authority's certificate.
func (ca *CA) PEM() []byte { return ca.pem }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// replace swaps a file's content in one step, as certificate tools do.
func replace(t testing.TB, path string, content []byte) {
	t.Helper()
	next := strings.TrimSuffix(path, filepath.Ext(path)) + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}
