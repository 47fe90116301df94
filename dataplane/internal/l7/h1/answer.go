package h1

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// Answers are the proxy's own answers to errors, prepared for one listener. They are immutable.
type Answers struct {
	contentType string
	pieces      []piece
}

// piece is a literal of the body, or one of the variables below.
type piece struct {
	literal  string
	variable variable
}

type variable uint8

const (
	literal variable = iota
	statusCode
	statusPhrase
	requestID
)

var variables = map[string]variable{"{status}": statusCode, "{phrase}": statusPhrase, "{request_id}": requestID}

const (
	defaultAnswerType = "text/plain; charset=utf-8"
	defaultAnswerBody = "{status} {phrase}\nrequest id: {request_id}\n"
	maxAnswerBody     = 4 << 10
	maxRequestID      = 128
)

// NewAnswers prepares answers with a body of that media type, in which {status}, {phrase} and {request_id} stand for what they say.
// Empty arguments give plain text. The body is at most 4 KiB long.
func NewAnswers(contentType, body string) (*Answers, error) {
	if body == "" {
		body = defaultAnswerBody
	}
	if contentType == "" {
		contentType = defaultAnswerType
	}
	if !field.IsValue(contentType) {
		return nil, fmt.Errorf("h1: answers: content type %q is not a field value", contentType)
	}
	if len(body) > maxAnswerBody {
		return nil, fmt.Errorf("h1: answers: a body of %d bytes is longer than %d", len(body), maxAnswerBody)
	}
	a := &Answers{contentType: contentType}
	for body != "" {
		at, name := len(body), ""
		for v := range variables {
			if i := strings.Index(body, v); i >= 0 && i < at {
				at, name = i, v
			}
		}
		if at > 0 {
			a.pieces = append(a.pieces, piece{literal: body[:at]})
		}
		if name != "" {
			a.pieces = append(a.pieces, piece{variable: variables[name]})
		}
		body = body[at+len(name):]
	}
	return a, nil
}

// Answer is one answer to write.
type Answer struct {
	// Status is from 200 to 599, with a body.
	Status int
	// RequestID goes into X-Request-ID and the body. An ID that is longer than 128 bytes, or has other bytes than letters, digits and
	// "-_.:/+=@", is left out: it may be the client's own, and the body may be HTML.
	RequestID []byte
	// Date is the value of Date; where it is nil, none is written.
	Date []byte
	// NoBody leaves the body out, in answer to HEAD.
	NoBody bool
	// Close adds "Connection: close". After a Fault it must be set.
	Close bool
	// Fields, unless nil, are added, as Location or Strict-Transport-Security.
	Fields *field.List
}

// Append appends head and body of an answer to dst.
func (a *Answers) Append(dst []byte, x *Answer) []byte {
	id := x.RequestID
	if !cleanID(id) {
		id = nil
	}
	length := 0
	for i := range a.pieces {
		length += a.pieces[i].size(x.Status, id)
	}
	h := ResponseHead{Status: x.Status, Close: x.Close}
	dst = h.appendLine(dst)
	if x.Date != nil {
		dst = appendField(dst, "Date: ", x.Date)
	}
	dst = append(dst, "Content-Type: "...)
	dst = append(dst, a.contentType...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(length), 10)
	dst = append(dst, "\r\nCache-Control: no-store\r\n"...)
	if len(id) > 0 {
		dst = appendField(dst, "X-Request-ID: ", id)
	}
	if x.Fields != nil {
		dst = x.Fields.AppendTo(dst, h.skip()|answerFields)
	}
	dst = appendConnection(dst, x.Close, false, false, false)
	dst = append(dst, "\r\n"...)
	if x.NoBody {
		return dst
	}
	for i := range a.pieces {
		dst = a.pieces[i].appendTo(dst, x.Status, id)
	}
	return dst
}

// answerFields are those that an answer writes by itself.
var answerFields = field.SetOf(field.Date, field.ContentType, field.CacheControl, field.XRequestID)

func (p *piece) size(status int, id []byte) int {
	switch p.variable {
	case statusCode:
		return 3
	case statusPhrase:
		return len(phraseOf(status))
	case requestID:
		return len(id)
	}
	return len(p.literal)
}

func (p *piece) appendTo(dst []byte, status int, id []byte) []byte {
	switch p.variable {
	case statusCode:
		return strconv.AppendInt(dst, int64(status), 10)
	case statusPhrase:
		return append(dst, phraseOf(status)...)
	case requestID:
		return append(dst, id...)
	}
	return append(dst, p.literal...)
}

func cleanID(id []byte) bool {
	for _, c := range id {
		alphanumeric := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alphanumeric && !strings.ContainsRune("-_.:/+=@", rune(c)) {
			return false
		}
	}
	return len(id) <= maxRequestID
}
