package h1

// Fault is why a message is refused. Faults are shared and never modified; that they are no error keeps a nil *Fault from
// becoming a non-nil error.
type Fault struct {
	// Status is what to answer before closing: 400, 414, 417, 431, 501 or 505 for a request, 502 for a response.
	Status int
	// Reason is a word for logs and metrics, one of Reasons.
	Reason string
}

// reason is an index into words. ok and more never become a Fault.
type reason uint8

const (
	ok reason = iota
	more

	badMethod
	badTarget
	badVersion
	badStatusLine
	versionUnsupported
	connectRefused
	emptyLines
	requestLineTooLong
	statusLineTooLong
	headerTooLarge
	tooManyFields
	bareCR
	bareLF
	nulByte
	controlByte
	obsFold
	leadingSpace
	spaceBeforeColon
	badFieldName
	missingColon
	missingHost
	repeatedHost
	badHost
	teWithCL
	teInHTTP10
	teRepeated
	teInvalid
	teUnsupported
	clRepeated
	clInvalid
	clOverflow
	bodyForbidden
	unknownExpectation
	badChunkSize
	chunkSizeOverflow
	badChunkEnd
	badChunkExtension
	chunkExtensionTooLarge
	trailerTooLarge
	tooManyTrailers
	bodyTruncated
	reasonCount
)

var words = [reasonCount]struct {
	word   string
	status int // for a request
}{
	badMethod:              {"bad_method", 400},
	badTarget:              {"bad_target", 400},
	badVersion:             {"bad_version", 400},
	badStatusLine:          {"bad_status_line", 400},
	versionUnsupported:     {"version_unsupported", 505},
	connectRefused:         {"connect_refused", 501},
	emptyLines:             {"empty_lines", 400},
	requestLineTooLong:     {"request_line_too_long", 414},
	statusLineTooLong:      {"status_line_too_long", 400},
	headerTooLarge:         {"header_too_large", 431},
	tooManyFields:          {"too_many_fields", 431},
	bareCR:                 {"bare_cr", 400},
	bareLF:                 {"bare_lf", 400},
	nulByte:                {"nul_byte", 400},
	controlByte:            {"control_byte", 400},
	obsFold:                {"obs_fold", 400},
	leadingSpace:           {"leading_space", 400},
	spaceBeforeColon:       {"space_before_colon", 400},
	badFieldName:           {"bad_field_name", 400},
	missingColon:           {"missing_colon", 400},
	missingHost:            {"missing_host", 400},
	repeatedHost:           {"repeated_host", 400},
	badHost:                {"bad_host", 400},
	teWithCL:               {"te_with_cl", 400},
	teInHTTP10:             {"te_in_http10", 400},
	teRepeated:             {"te_repeated", 400},
	teInvalid:              {"te_invalid", 400},
	teUnsupported:          {"te_unsupported", 501},
	clRepeated:             {"cl_repeated", 400},
	clInvalid:              {"cl_invalid", 400},
	clOverflow:             {"cl_overflow", 400},
	bodyForbidden:          {"body_forbidden", 400},
	unknownExpectation:     {"unknown_expectation", 417},
	badChunkSize:           {"bad_chunk_size", 400},
	chunkSizeOverflow:      {"chunk_size_overflow", 400},
	badChunkEnd:            {"bad_chunk_end", 400},
	badChunkExtension:      {"bad_chunk_extension", 400},
	chunkExtensionTooLarge: {"chunk_extension_too_large", 400},
	trailerTooLarge:        {"trailer_too_large", 400},
	tooManyTrailers:        {"too_many_trailers", 400},
	bodyTruncated:          {"body_truncated", 400},
}

// side is whose message it is.
type side uint8

const (
	ofRequest side = iota
	ofResponse
)

var faults = buildFaults()

func buildFaults() (t [2][reasonCount]*Fault) {
	for why := more + 1; why < reasonCount; why++ {
		t[ofRequest][why] = &Fault{words[why].status, words[why].word}
		t[ofResponse][why] = &Fault{502, words[why].word}
	}
	return t
}

// Reasons returns all words a Fault can have, for metrics that want their labels in advance.
func Reasons() []string {
	var all []string
	for why := more + 1; why < reasonCount; why++ {
		all = append(all, words[why].word)
	}
	return all
}
