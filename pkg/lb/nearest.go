package lb

import "strings"

// Nearest gives the candidate that is most likely meant by word, or "" where
// none is near. Near is a Damerau-Levenshtein distance (optimal string
// alignment) of at most a third of the word's length, and at least 1; letter
// case, "-" and "_" do not count. Among equals the first candidate wins.
func Nearest(word string, candidates []string) string {
	const longest = 128 // beyond it nobody mistypes; keeps the cost bounded
	word = plain(word)
	if word == "" || len(word) > longest {
		return ""
	}
	best, limit := "", max(1, len(word)/3)+1
	for _, candidate := range candidates {
		if c := plain(candidate); len(c) <= longest {
			if d := distance(word, c, limit); d < limit && d < len(c) {
				best, limit = candidate, d
			}
		}
	}
	return best
}

func plain(s string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(s))
}

// distance is the optimal string alignment distance in bytes, or at least
// limit where it is no smaller than that.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	before, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}
