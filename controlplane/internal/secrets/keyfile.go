package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxKeyFile bounds what is read: room for hundreds of keys and their comments.
const maxKeyFile = 64 << 10

// ReadKeyFile makes a sealer of the keys in a file that only its owner may read or write (mode 0600 or less). The file holds
// either 32 raw bytes, or text: one key a line, 32 bytes as hexadecimal digits or base64, empty lines and those that begin with
// # apart. The first key seals, all open.
func ReadKeyFile(path string) (*Sealer, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("secrets: key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("secrets: key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("secrets: key file %s: not a regular file", path)
	}
	if wide := info.Mode().Perm() &^ 0o600; wide != 0 {
		return nil, fmt.Errorf("secrets: key file %s: its mode is %#o, but only the owner may have access; chmod 600 it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("secrets: key file: %w", err)
	}
	defer clear(text)
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("secrets: key file %s: longer than %d bytes", path, maxKeyFile)
	}
	keys, err := parseKeys(text)
	defer func() {
		for _, key := range keys {
			clear(key)
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("secrets: key file %s: %w", path, err)
	}
	sealer, err := New(keys...)
	if err != nil {
		return nil, fmt.Errorf("%w, in key file %s", err, path)
	}
	return sealer, nil
}

// parseKeys reads the content of a key file. Errors give lines, never their content.
func parseKeys(text []byte) (keys [][]byte, err error) {
	if len(text) == KeySize && !isText(text) {
		return [][]byte{bytes.Clone(text)}, nil
	}
	for i, line := range bytes.Split(text, []byte{'\n'}) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key := decodeKey(line)
		if key == nil {
			return keys, fmt.Errorf("line %d: not %d bytes as hexadecimal digits or base64 (`openssl rand -hex %d` makes such a line)", i+1, KeySize, KeySize)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key")
	}
	return keys, nil
}

// isText tells 32 bytes that someone typed, such as a key of half the length in hexadecimal, from 32 random ones, which are
// printable throughout with a probability below 2^-40.
func isText(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

func decodeKey(line []byte) []byte {
	key := make([]byte, base64.StdEncoding.DecodedLen(max(len(line), 2*KeySize))+KeySize)
	if n, err := hex.Decode(key, line); err == nil && n == KeySize {
		return key[:n:n]
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if n, err := encoding.Decode(key, line); err == nil && n == KeySize {
			return key[:n:n]
		}
	}
	clear(key)
	return nil
}

// GenerateKeyFile writes one new random key to a file of mode 0600. A file that is there already stays as it is, and is no error:
// what it sealed must still open. The key is on disk before the file has its name.
func GenerateKeyFile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	key := make([]byte, KeySize)
	defer clear(key)
	if _, err := io.ReadFull(rand.Reader, key); err != nil {
		return fmt.Errorf("secrets: new key file: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".key-*") // CreateTemp's mode is 0600
	if err != nil {
		return fmt.Errorf("secrets: new key file: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = fmt.Fprintf(temporary, "# FiberLB key-encryption key: keep a copy, without it no stored private key opens.\n%x\n", key)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err != nil {
		return fmt.Errorf("secrets: new key file: %w", err)
	}
	// A link, unlike a rename, replaces nothing: of two who start at once, both use the first one's key.
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("secrets: new key file: %w", err)
	}
	return nil
}
