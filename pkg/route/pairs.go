package route

import "bytes"

// fillCookies reads the pairs of one Cookie field, RFC 6265 section 4.2.1, as
// servers do: pairs stand between ";", with white space around them or none;
// what has no "=" is no pair; a value in double quotes is what is between them.
// A name that is there twice has both values. Names are case-sensitive.
func (s *Scratch) fillCookies(field []byte) {
	for len(field) > 0 {
		pair := field
		if i := bytes.IndexByte(field, ';'); i >= 0 {
			pair, field = field[:i], field[i+1:]
		} else {
			field = nil
		}
		equals := bytes.IndexByte(pair, '=')
		if equals < 0 {
			continue
		}
		slot, ok := s.table.slots.cookies[string(trimSpace(pair[:equals]))]
		if !ok {
			continue
		}
		value := trimSpace(pair[equals+1:])
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		s.add(slot, value)
	}
}

// trimSpace removes spaces and tabs from both ends.
func trimSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// fillQuery reads the parameters of a query: key and value pairs between "&",
// each decoded, "+" being a space. A key without "=" has the empty value; one
// that is there twice has both. A "%" that encodes nothing stands for itself.
// Keys and values are case-sensitive.
func (s *Scratch) fillQuery(query []byte) {
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		key, value, _ := bytes.Cut(pair, []byte{'='})
		begin := len(s.text)
		slot, ok := s.table.slots.query[string(s.unescape(key))]
		s.text = s.text[:begin]
		if ok {
			s.add(slot, s.unescape(value))
		}
	}
}

// unescape decodes p; the result is p itself, or lies in s.text.
func (s *Scratch) unescape(p []byte) []byte {
	if bytes.IndexByte(p, '%') < 0 && bytes.IndexByte(p, '+') < 0 {
		return p
	}
	begin := len(s.text)
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(p) && unhex(p[i+1]) >= 0 && unhex(p[i+2]) >= 0:
			c = byte(unhex(p[i+1])<<4 | unhex(p[i+2]))
			i += 2
		}
		s.text = append(s.text, c)
	}
	return s.text[begin:]
}
