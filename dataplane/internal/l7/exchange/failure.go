package exchange

import "github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"

// Reason is why an exchange ended as it did: a word for logs and metrics, as HAProxy's termination codes are.
type Reason uint8

// Done is the one good end; Answered is the proxy's own answer, as a policy says.
const (
	Done Reason = iota
	Answered
	// Tunnel: it ended as its peers wished.
	Tunnel
	BadRequest
	BadRequestBody
	HeaderTimeout
	ClientClosed
	ClientTruncated
	ClientBodyTimeout
	ClientWriteFailed
	ClientWriteTimeout
	NoPool
	NoBackend
	QueueFull
	QueueTimeout
	ConnectFailed
	ConnectTimeout
	BackendWriteTimeout
	BackendClosed
	BackendTimeout
	BadResponse
	BadUpgrade
	BackendTruncated
	BadResponseBody
	BackendBodyTimeout
	TunnelIdle
	TunnelBroken
	// Drained: the backend was removed, and its time to finish is over.
	Drained
	Shutdown
	reasons
)

// ReasonCount is how many reasons there are.
const ReasonCount = int(reasons)

// Reset codes of RFC 9113 section 7.
const (
	codeNone     = 0x0
	codeProtocol = 0x1
	codeInternal = 0x2
	codeRefused  = 0x7
	codeCancel   = 0x8
)

var failures = number([reasons]Failure{
	Done:                {word: "done", Code: codeNone},
	Answered:            {word: "answered", Code: codeNone},
	Tunnel:              {word: "tunnel_done", Code: codeNone},
	BadRequest:          {word: "bad_request", Status: 400, Code: codeProtocol},
	BadRequestBody:      {word: "bad_request_body", Status: 400, Code: codeProtocol},
	HeaderTimeout:       {word: "header_timeout", Status: 408, Code: codeCancel},
	ClientClosed:        {word: "client_closed", Code: codeCancel},
	ClientTruncated:     {word: "client_truncated", Code: codeCancel},
	ClientBodyTimeout:   {word: "client_body_timeout", Status: 408, Code: codeCancel},
	ClientWriteFailed:   {word: "client_write_failed", Code: codeCancel},
	ClientWriteTimeout:  {word: "client_write_timeout", Code: codeCancel},
	NoPool:              {word: "no_pool", Status: 503, Code: codeRefused},
	NoBackend:           {word: "no_backend", Status: 503, Code: codeRefused},
	QueueFull:           {word: "queue_full", Status: 503, Code: codeRefused},
	QueueTimeout:        {word: "queue_timeout", Status: 503, Code: codeRefused},
	ConnectFailed:       {word: "connect_failed", Status: 502, Code: codeRefused},
	ConnectTimeout:      {word: "connect_timeout", Status: 504, Code: codeRefused},
	BackendWriteTimeout: {word: "backend_write_timeout", Status: 504, Code: codeInternal},
	BackendClosed:       {word: "backend_closed", Status: 502, Code: codeInternal},
	BackendTimeout:      {word: "backend_timeout", Status: 504, Code: codeInternal},
	BadResponse:         {word: "bad_response", Status: 502, Code: codeInternal},
	BadUpgrade:          {word: "bad_upgrade", Status: 502, Code: codeInternal},
	BackendTruncated:    {word: "backend_truncated", Status: 502, Code: codeInternal},
	BadResponseBody:     {word: "bad_response_body", Status: 502, Code: codeInternal},
	BackendBodyTimeout:  {word: "backend_body_timeout", Status: 504, Code: codeInternal},
	TunnelIdle:          {word: "tunnel_idle", Code: codeCancel},
	TunnelBroken:        {word: "tunnel_broken", Code: codeCancel},
	Drained:             {word: "drained", Status: 503, Code: codeCancel},
	Shutdown:            {word: "shutdown", Status: 503, Code: codeCancel},
})

func number(table [reasons]Failure) [reasons]Failure {
	for r := range table {
		table[r].Reason = Reason(r)
	}
	return table
}

// String returns the word of the reason.
func (r Reason) String() string { return failures[r].word }

// Failure is why an exchange failed. Failures are shared and never modified; that they are no error keeps a nil one from becoming
// a non-nil error.
type Failure struct {
	Reason Reason
	// Status is what to answer where no byte of a response went out; 0 where the client is not there to see it.
	Status int
	// Code resets the stream (RFC 9113 section 7).
	Code uint32
	// Detail is the word of an h1.Fault; empty for others.
	Detail string

	word string
}

// Fail returns the Failure of a reason. It allocates nothing.
func Fail(r Reason) *Failure { return &failures[r] }

// FromFault returns the Failure of a broken message, with the fault's own status and word.
func FromFault(r Reason, fault *h1.Fault) *Failure {
	f := failures[r]
	f.Status, f.Detail = fault.Status, fault.Reason
	return &f
}
