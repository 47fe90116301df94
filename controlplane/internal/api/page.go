package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// Bounds of pages, in items.
const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// A page token is base64url, without padding, of one byte of version, eight bytes of checksum over scope and payload, and the
// payload: the revision as a varint, then each part of the last item's key with its length before it.
const (
	tokenVersion  = 1
	tokenChecksum = 8
	maxTokenText  = 4096
	maxTokenParts = 8
)

// pageToken says where a list goes on: after the item of that key, as things stood at that revision.
type pageToken struct {
	revision int64
	key      ids
}

// errToken is the one answer to every token that was not given out for the same list: what exactly is wrong with it helps
// nobody who did not make it up.
var errToken = errors.New("is not a token of this list: pass on the next_page_token of the page before, with the same parent")

// encode gives the token for the list that scope names: its method and parent.
func (t pageToken) encode(scope string) string {
	payload := binary.AppendVarint(nil, t.revision)
	for _, part := range t.key {
		payload = binary.AppendUvarint(payload, uint64(len(part)))
		payload = append(payload, part...)
	}
	out := append([]byte{tokenVersion}, tokenSum(scope, payload)...)
	return base64.RawURLEncoding.EncodeToString(append(out, payload...))
}

// decodePageToken reads a token of the same scope; the empty text is the beginning of the list.
func decodePageToken(text, scope string) (pageToken, error) {
	if text == "" {
		return pageToken{}, nil
	}
	if len(text) > maxTokenText {
		return pageToken{}, errToken
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 1+tokenChecksum || raw[0] != tokenVersion {
		return pageToken{}, errToken
	}
	payload := raw[1+tokenChecksum:]
	if string(tokenSum(scope, payload)) != string(raw[1:1+tokenChecksum]) {
		return pageToken{}, errToken
	}
	revision, n := binary.Varint(payload)
	if n <= 0 || revision < 0 {
		return pageToken{}, errToken
	}
	t := pageToken{revision: revision}
	for payload = payload[n:]; len(payload) > 0; {
		size, n := binary.Uvarint(payload)
		if n <= 0 || size > uint64(len(payload)-n) || len(t.key) == maxTokenParts {
			return pageToken{}, errToken
		}
		t.key = append(t.key, string(payload[n:n+int(size)]))
		payload = payload[n+int(size):]
	}
	if len(t.key) == 0 {
		return pageToken{}, errToken
	}
	return t, nil
}

// within tells whether the token's key, if any, is the name of an object of the form under the parent: the checksum is no
// secret, so that a token may be anything.
func (t pageToken) within(form pattern, parent ids) bool {
	if len(t.key) == 0 {
		return true
	}
	if len(t.key) != len(form) || !parent.matches(t.key) {
		return false
	}
	_, err := form.parse(form.format(t.key), false)
	return err == nil
}

func tokenSum(scope string, payload []byte) []byte {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(scope))))
	h.Write([]byte(scope))
	h.Write(payload)
	return h.Sum(nil)[:tokenChecksum]
}

// pageSize is how many items the page has: none asked for is the default, and more than the maximum is refused rather than
// quietly cut.
func pageSize(asked uint32) (int, error) {
	switch {
	case asked == 0:
		return defaultPageSize, nil
	case asked > maxPageSize:
		return 0, fieldError("page_size", "is above %d", maxPageSize)
	}
	return int(asked), nil
}
