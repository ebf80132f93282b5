package hmaptools_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestClaims holds docs/claims.md against the lessons: every claim is there, once
// and in order, with a verdict, and the lesson that it names has the command, which
// TestDocs executes.
func TestClaims(t *testing.T) {
	const page = "docs/claims.md"
	var want []string
	for _, part := range []struct{ chapter, first, last int }{
		{1, 1, 20},
		{2, 1, 7}, {2, 10, 17}, {2, 20, 26}, {2, 30, 39}, {2, 40, 47},
		{3, 1, 5}, {3, 10, 13}, {3, 20, 24},
		{4, 1, 8}, {4, 10, 17}, {4, 20, 27}, {4, 30, 35},
	} {
		for n := part.first; n <= part.last; n++ {
			want = append(want, fmt.Sprintf("%d.%02d", part.chapter, n))
		}
	}
	if len(want) != 104 {
		t.Fatalf("%d claims, want 104", len(want))
	}

	commands := map[string][]string{} // lesson -> what it runs
	for _, file := range glob(t, "docs/lessons/*/README.md") {
		for _, b := range parseDoc(string(read(t, file))) {
			for _, c := range b.commands {
				commands[path.Dir(file)] = append(commands[path.Dir(file)], c.shell)
			}
		}
	}
	row := regexp.MustCompile(`(?m)^\| (\d\.\d\d) \| (.+) \| (\w+) \| (.+) \| (.*) \| \[\d+\]\((\S+)/README\.md\) \| ` + "`(.+)` \\|$")
	text := string(read(t, page))
	var got []string
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		id, verdict, lesson, command := m[1], m[3], path.Join("docs", m[6]), m[7]
		got = append(got, id)
		if !slices.Contains([]string{"true", "false", "partly", "depends"}, verdict) {
			t.Errorf("%s: claim %s: verdict %q", page, id, verdict)
		}
		if verdict != "true" && verdict != "false" && m[5] == "" {
			t.Errorf("%s: claim %s is %s, and nothing says why", page, id, verdict)
		}
		if commands[lesson] == nil {
			t.Errorf("%s: claim %s: %s is no lesson", page, id, lesson)
		} else if !slices.ContainsFunc(commands[lesson], func(c string) bool { return strings.HasPrefix(c, command) }) {
			t.Errorf("%s: claim %s: no command of %s begins with %s", page, id, lesson, command)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s has the claims\n%v\nwant\n%v", page, got, want)
	}
	// A line that the pattern does not match would otherwise go unseen.
	if n := strings.Count(text, "\n| "); n-strings.Count(text, "\n| ---")-strings.Count(text, "\n| | ") != len(got) {
		t.Errorf("%s: %d lines of tables, %d claims", page, n, len(got))
	}
}
