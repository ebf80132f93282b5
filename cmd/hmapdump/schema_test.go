package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// A shape is what a value of the JSON must be. It is written from design.md,
// section 4, by hand and not from the structs of internal/report: a renamed field
// of those must not pass.
type shape func(path string, v any) []string

// object has these fields and no others. A name that ends in ? may be absent.
func object(fields map[string]shape) shape {
	return func(path string, v any) []string {
		m, ok := v.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T, want an object", path, v)}
		}
		var bad []string
		left := map[string]bool{}
		for k := range m {
			left[k] = true
		}
		for name, is := range fields {
			name, optional := strings.CutSuffix(name, "?")
			x, ok := m[name]
			delete(left, name)
			switch {
			case ok:
				bad = append(bad, is(path+"."+name, x)...)
			case !optional:
				bad = append(bad, path+": no field "+name)
			}
		}
		for name := range left {
			bad = append(bad, path+": unknown field "+name)
		}
		return bad
	}
}

func list(of shape) shape {
	return func(path string, v any) []string {
		l, ok := v.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T, want an array", path, v)}
		}
		var bad []string
		for i, x := range l {
			bad = append(bad, of(fmt.Sprintf("%s[%d]", path, i), x)...)
		}
		return bad
	}
}

// text is a string that matches the whole of the expression.
func text(expr string) shape {
	re := regexp.MustCompile(`^(?s:` + expr + `)$`)
	return func(path string, v any) []string {
		if s, ok := v.(string); !ok || !re.MatchString(s) {
			return []string{fmt.Sprintf("%s: %#v, want a string %s", path, v, expr)}
		}
		return nil
	}
}

func number(path string, v any) []string {
	if n, ok := v.(json.Number); ok {
		if x, err := n.Float64(); err == nil && x >= 0 {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: %#v, want a number", path, v)}
}

// count is an integer that is not negative.
func count(path string, v any) []string {
	if n, ok := v.(json.Number); ok {
		if x, err := n.Int64(); err == nil && x >= 0 {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: %#v, want an integer", path, v)}
}

// wide is an integer of 64 bits, as a corrupt header may hold it.
func wide(path string, v any) []string {
	if n, ok := v.(json.Number); ok {
		_, err := strconv.ParseUint(strings.TrimPrefix(n.String(), "-"), 10, 64)
		if err == nil {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: %#v, want an integer", path, v)}
}

func boolean(path string, v any) []string {
	if _, ok := v.(bool); !ok {
		return []string{fmt.Sprintf("%s: %#v, want true or false", path, v)}
	}
	return nil
}

var (
	str    = text(`.*`)
	word   = text(`.+`)
	addr   = text(`0x[0-9a-f]+`)
	either = text(`classic|swiss`)

	place = map[string]shape{"func?": word, "file?": word, "line?": count, "goroutine?": count}

	stopShape = object(with(place, map[string]shape{
		"reason":   text(`main-return|exit|fatal|panic|at|attach|core|connect|interrupt`),
		"message?": word, "exit_status?": count,
	}))
	targetShape = object(map[string]shape{
		"path": word, "pid?": count, "go": text(`go1\.\d+.*|devel.*`), "arch": word, "generation": either,
		"layout_from": text(`dwarf|runtime-types`), "stop": stopShape,
	})
	summaryShape = object(map[string]shape{
		"maps": count, "shared": count, "growing": count, "entries": wide, "bytes": count, "wasted_bytes": count,
		"unreadable": count, "pause_ns": count, "elapsed_ns": count,
		"listed": count, "nil": count, "broken": count, "cut": count, // additions
		"scanned_bytes": count, "objects": count, "headers": count, "sync_maps": count, "sync_bytes": count, "unexplained": count,
		"goroutines": count, "stale": count,
	})
	swissHeader = object(map[string]shape{
		"used": wide, "seed": addr, "dirPtr": addr, "dirLen": wide, "globalDepth": wide, "globalShift": wide,
		"writing": wide, "tombstonePossible?": boolean, "clearSeq": wide,
	})
	classicHeader = object(map[string]shape{
		"count": wide, "flags": wide, "flag_names": list(text(`iterator|oldIterator|hashWriting|sameSizeGrow|0x[1-9a-f]0`)), "B": wide,
		"noverflow": wide, "hash0": addr, "buckets": addr, "oldbuckets": addr, "nevacuate": wide, "clearSeq?": wide, "extra": addr,
	})
	holderShape = object(with(place, map[string]shape{
		"kind": text(`global|local|arg|register|field|element|mapvalue|mapkey|closure|channel|interface|unknown`),
		"name": word, "path": word, "type": word, "addr?": addr,
	}))
	noteShape = object(map[string]shape{
		"code": text(`sparse|tombstones|shared-across-goroutines|growing|overflow-heavy|directory-skew|indirect|writing`), "text": word,
	})
	tableShape = object(map[string]shape{
		"addr": addr, "index": count, "local_depth": count, "used": count, "capacity": count, "growth_left": count, "tombstones": count,
		"directory_entries": count, "groups": addr, // additions
	})
	slotsShape = object(map[string]shape{
		"table?": count, "block": count, "chain?": count, "old?": boolean, "addr": addr, "meta": text(`([0-9a-f]{2}){8}`),
		"slots": list(object(map[string]shape{"slot": count, "key": str, "elem": str})),
	})
	lostShape = object(with(place, map[string]shape{"name": word, "type": word, "why": word}))

	mapFields = map[string]shape{
		"addr": addr, "type": word, "generation": either, "len": wide, "slots": count, "load": number,
		"bytes": count, "wasted_bytes": count, "holders": list(holderShape), "goroutines": list(count), "notes": list(noteShape),
		"tombstones": count, "grow_in": count, "slots_detail?": list(slotsShape), "errors?": list(word),
		"broken?": list(word), // an addition
	}
	swissMap = object(with(mapFields, map[string]shape{
		"header": swissHeader, "variant": text(`interleaved|splitgroup`), "tables?": list(tableShape),
	}))
	classicMap = object(with(mapFields, map[string]shape{
		"header": classicHeader, "variant": text(`bucket`),
		"growth": object(map[string]shape{
			"state": text(`idle|double|same-size`), "evacuated": count, "old_buckets": count,
			"x_entries": count, "y_entries": count, "next_evacuate": count, // additions
		}),
		"overflow": object(map[string]shape{"buckets": count, "longest_chain": count, "noverflow": count}),
	}))
	// A sync.Map has the fields of a map as far as they mean something.
	levelShape = object(map[string]shape{"indirect_nodes": count, "entry_nodes": count})
	syncShape  = object(with(mapFields, map[string]shape{
		"generation": text(`read-dirty|hash-trie`), "variant": text(`sync\.Map`),
		"header": object(map[string]shape{"read?": addr, "dirty?": addr, "misses?": count, "root?": addr, "seed?": addr}),
		"notes":  list(object(map[string]shape{"code": text(`amended|tombstones|overflow-heavy|writing`), "text": word})),
		"sync": object(map[string]shape{
			"design": text(`read-dirty|hash-trie`), "busy": boolean, "read?": addr, "dirty?": addr, "read_len": count, "dirty_len": count,
			"amended": boolean, "misses": count, "deleted": count, "expunged": count, "root?": addr, "depth": count, "indirect_nodes": count,
			"entry_nodes": count, "overflow_nodes": count, "longest_chain": count, "levels?": list(levelShape),
		}),
		"slots_detail?": list(object(map[string]shape{
			"block": count, "addr": addr, "meta": text(``), "slots": list(object(map[string]shape{"slot": count, "key": str, "elem": str})),
		})),
	}))
	autopsyShape = object(map[string]shape{
		"message": word, "map?": addr, "fatal_goroutine": count,
		"goroutines": list(object(with(place, map[string]shape{
			"id": count, "op?": text(`assign|access|delete|iter|clear|grow`), "holds?": list(word),
			"symbol?": word, // an addition
		}))),
		"certain": boolean, "writing": boolean, "text": list(word), // additions
	})
	dumpShape = object(map[string]shape{
		"schema": one, "tool": text(`hmapdump \S.*`), "target": targetShape, "summary": summaryShape, "maps": list(mapShape),
		"autopsy?": autopsyShape, "sync_maps?": list(syncShape),
		"lost?": list(lostShape), "errors?": list(word), // additions
	})
)

func one(path string, v any) []string {
	if v != json.Number("1") {
		return []string{fmt.Sprintf("%s: %v, want 1", path, v)}
	}
	return nil
}

func with(a, b map[string]shape) map[string]shape {
	sum := map[string]shape{}
	for _, m := range []map[string]shape{a, b} {
		for k, v := range m {
			sum[k] = v
		}
	}
	return sum
}

func mapShape(path string, v any) []string {
	m, _ := v.(map[string]any)
	if h, ok := m["header"].(map[string]any); ok && len(h) == 0 && m["errors"] != nil {
		return nil // not even the header could be read
	}
	if m["generation"] == "classic" {
		return classicMap(path, v)
	}
	return swissMap(path, v)
}

// checkSchema returns what is wrong with a dump in JSON.
func checkSchema(doc []byte) []string {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return []string{err.Error()}
	}
	var bad []string
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		bad = append(bad, fmt.Sprintf("more than one document: %v", err))
	}
	if !bytes.HasSuffix(doc, []byte("}\n")) {
		bad = append(bad, "the document does not end with a newline")
	}
	bad = append(bad, dumpShape("", v)...)
	if len(bad) == 0 {
		bad = checkSums(v.(map[string]any))
	}
	sort.Strings(bad)
	return bad
}

// checkSums checks what the fields say of one another.
func checkSums(doc map[string]any) []string {
	var bad []string
	n := func(v any, name string) int64 {
		x, _ := v.(map[string]any)[name].(json.Number).Int64()
		return x
	}
	var entries, bytes int64
	seen := map[any]bool{}
	maps := doc["maps"].([]any)
	for i, v := range maps {
		m := v.(map[string]any)
		entries += n(m, "len")
		bytes += n(m, "bytes")
		if n(m, "wasted_bytes") > n(m, "bytes") {
			bad = append(bad, fmt.Sprintf("maps[%d] wastes more than it has", i))
		}
		if seen[m["addr"]] {
			bad = append(bad, fmt.Sprintf("maps[%d]: a second row for %v", i, m["addr"]))
		}
		seen[m["addr"]] = true
		if len(m["holders"].([]any)) == 0 {
			bad = append(bad, fmt.Sprintf("maps[%d] has no holder", i))
		}
		if m["generation"] == "classic" && n(m, "tombstones") != 0 {
			bad = append(bad, fmt.Sprintf("maps[%d]: Classic, with tombstones", i))
		}
	}
	sum := doc["summary"]
	if n(sum, "listed") != int64(len(maps)) {
		bad = append(bad, fmt.Sprintf("listed %d, but %d maps", n(sum, "listed"), len(maps)))
	}
	if n(sum, "maps") == n(sum, "listed") && (n(sum, "entries") != entries || n(sum, "bytes") != bytes) {
		bad = append(bad, fmt.Sprintf("summary of %d entries, %d bytes; the maps have %d, %d", n(sum, "entries"), n(sum, "bytes"), entries, bytes))
	}
	return bad
}

// The validator finds what is wrong.
func TestSchema(t *testing.T) {
	const good = `{"schema":1,"tool":"hmapdump v1","target":{"path":"p","pid":1,"go":"go1.26.8","arch":"amd64","generation":"swiss",
"layout_from":"dwarf","stop":{"reason":"at","goroutine":1,"func":"main.f","file":"f.go","line":3}},
"summary":{"maps":1,"listed":1,"shared":0,"growing":0,"nil":0,"entries":1,"bytes":256,"wasted_bytes":0,"unreadable":0,"broken":0,"cut":0,"pause_ns":0,"elapsed_ns":5,
"scanned_bytes":9,"objects":1,"headers":1,"sync_maps":0,"sync_bytes":0,"unexplained":0,"goroutines":1,"stale":0},
"maps":[{"addr":"0xc0","type":"map[string]int","generation":"swiss","variant":"interleaved","len":1,"slots":8,"load":0.125,"tombstones":0,"bytes":256,
"wasted_bytes":0,"grow_in":7,"header":{"used":1,"seed":"0x1","dirPtr":"0xc1","dirLen":0,"globalDepth":0,"globalShift":64,"writing":0,"tombstonePossible":false,"clearSeq":0},
"holders":[{"kind":"global","name":"main.m","path":"main.m","type":"map[string]int","addr":"0x4f"}],"goroutines":[],"notes":[]}]}
`
	if bad := checkSchema([]byte(good)); len(bad) > 0 {
		t.Errorf("%q", bad)
	}
	for from, to := range map[string]string{
		`"wasted_bytes":0,"grow_in"`: `"wasted":0,"grow_in"`,
		`"kind":"global"`:            `"kind":"variable"`,
		`"addr":"0x4f"`:              `"addr":79`,
		`"schema":1`:                 `"schema":2`,
		`"len":1`:                    `"len":1.5`,
		`"dirLen":0,`:                ``,
		`"slots":8,`:                 `"slots":8,"extra":1,`,
		`"entries":1`:                `"entries":2`,
	} {
		if !strings.Contains(good, from) {
			t.Fatalf("no %s", from)
		}
		if bad := checkSchema([]byte(strings.Replace(good, from, to, 1))); len(bad) == 0 {
			t.Errorf("%s instead of %s was not found", to, from)
		} else if slices.ContainsFunc(bad, func(s string) bool { return s == "" }) {
			t.Errorf("empty complaint: %q", bad)
		}
	}
}
