package lb

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseCodes reads a list of HTTP status codes with ranges, "200,202,204-206",
// each 100 to 599 (RFC 9110 section 15). The result is sorted; ranges that
// meet or overlap are one.
func ParseCodes(s string) ([]CodeRange, error) {
	var codes []CodeRange
	for item := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			last = first
		}
		a, ok1 := parseCode(strings.TrimSpace(first))
		b, ok2 := parseCode(strings.TrimSpace(last))
		if !ok1 || !ok2 || a > b {
			return nil, fmt.Errorf("%s is not a list of status codes: %s is not one of 100-599 or a range of them", Quote(s), Quote(item))
		}
		codes = append(codes, CodeRange{a, b})
	}
	return mergeCodes(codes), nil
}

func parseCode(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && len(s) == 3 && n >= 100 && n <= 599
}

// FormatCodes writes codes as [ParseCodes] reads them.
func FormatCodes(codes []CodeRange) string {
	items := make([]string, len(codes))
	for i, c := range codes {
		items[i] = strconv.Itoa(int(c.First))
		if c.Last != c.First {
			items[i] += "-" + strconv.Itoa(int(c.Last))
		}
	}
	return strings.Join(items, ",")
}

// mergeCodes sorts ranges and joins those that meet or overlap. Ranges that
// run backwards are kept for the checks to find.
func mergeCodes(codes []CodeRange) []CodeRange {
	slices.SortFunc(codes, func(a, b CodeRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	var merged []CodeRange
	for _, c := range codes {
		if n := len(merged); n > 0 && c.First <= c.Last && merged[n-1].First <= merged[n-1].Last && int(c.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, c.Last)
			continue
		}
		merged = append(merged, c)
	}
	return merged
}
