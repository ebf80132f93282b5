package hmaptools_test

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hmaptools/internal/testenv"
)

// TestLayouts holds docs/layouts.md against the debug information of a program
// that every toolchain of testenv's table has built. It reads DWARF through the
// standard library and shares nothing with internal/hmap.
//
// A run that takes only some toolchains compares what the page says of these.
// With -update and HMAPTOOLS_ALL_TOOLCHAINS=1, the page is written anew.
func TestLayouts(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the page is of linux/amd64")
	}
	const page = "docs/layouts.md"
	var all []described
	for _, tc := range testenv.Toolchains(t) {
		d := described{name: tc.Name, structs: map[string]string{}, constants: map[string]string{}}
		if tc.Go == "local" {
			// The page calls the host by its release.
			d.name = strings.Join(strings.SplitN(runtime.Version(), ".", 3)[:2], ".")
		}
		if slices.ContainsFunc(all, func(o described) bool { return o.name == d.name }) {
			continue // the host is a release of the table
		}
		d.read(t, testenv.Build(t, tc, "small"))
		all = append(all, d)
	}
	text := string(read(t, page))
	whole := os.Getenv("HMAPTOOLS_ALL_TOOLCHAINS") == "1"
	if *update && whole {
		write(t, page, text, layoutPage(all))
		return
	}
	for _, d := range all {
		for _, kind := range layoutKinds {
			if got, want := section(text, kind.title, d.name), d.structs[kind.title]; got != want {
				t.Errorf("%s: %s of %s:\n%s\nthe program has\n%s", page, kind.title, d.name, got, want)
			}
		}
		for name, value := range d.constants {
			if line := fmt.Sprintf("| `%s` | %s |", name, value); !strings.Contains(section(text, "Constants", d.name), line) {
				t.Errorf("%s: the constants of %s lack %s", page, d.name, line)
			}
		}
	}
	if whole && !t.Failed() {
		if text != layoutPage(all) {
			t.Errorf("%s is not what HMAPTOOLS_ALL_TOOLCHAINS=1 go test . -run TestLayouts -update writes", page)
		}
	}
}

// layoutKinds are the parts of the page, in its order. A struct's name is the
// first that a program has: the linker makes one for each map type out of the
// runtime's.
var layoutKinds = []struct {
	title, heading, intro string
	names                 []string
}{
	{"Classic header", "Classic", "What a map variable points at.", []string{"runtime.hmap"}},
	{"Classic extra", "", "`extra` keeps overflow buckets alive where a bucket has no pointers, and those that were allocated in advance.", []string{"runtime.mapextra"}},
	{"Classic bucket of map[string]int", "", "A bucket has all its keys, and then all its elems, as a SplitGroup has.", []string{"bucket<string,int>"}},
	{"Classic bucket of map[int32]bool", "", "", []string{"bucket<int32,bool>"}},
	{"Swiss header", "Swiss", "What a map variable points at.", []string{"internal/runtime/maps.Map"}},
	{"Swiss table", "", "The directory, at `dirPtr`, is an array of pointers to tables. In a small map `dirLen` is 0, and `dirPtr` the address of its one group.", []string{"internal/runtime/maps.table"}},
	{"Swiss group of map[string]int", "", "Interleaved: a key and its elem make a slot. SplitGroup: the keys, then the elems.", []string{"noalg.map.group[string]int", "map.group[string]int"}},
	{"Swiss group of map[int32]bool", "", "Where elems are smaller than keys, a slot has a gap, and a SplitGroup has none.", []string{"noalg.map.group[int32]bool", "map.group[int32]bool"}},
}

// layoutConstants are those that decoding relies on.
var layoutConstants = []string{
	"runtime.emptyRest", "runtime.emptyOne", "runtime.evacuatedX", "runtime.evacuatedY", "runtime.evacuatedEmpty", "runtime.minTopHash",
	"runtime.iterator", "runtime.oldIterator", "runtime.hashWriting", "runtime.sameSizeGrow",
	"runtime.loadFactorNum", "runtime.loadFactorDen",
	"internal/runtime/maps.ctrlEmpty", "internal/runtime/maps.ctrlDeleted",
	"internal/runtime/maps.maxTableCapacity", "internal/runtime/maps.maxAvgGroupLoad",
}

// described is what the debug information of one toolchain's program says.
type described struct {
	name      string
	structs   map[string]string // title of the kind -> its table, "" if there is none
	constants map[string]string
}

func (d *described) read(t *testing.T, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := f.DWARF()
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	structs := map[string]*dwarf.StructType{}
	for r := data.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		if e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch e.Tag {
		case dwarf.TagStructType:
			typ, err := data.Type(e.Offset)
			if err != nil {
				t.Fatalf("%s: %s: %v", d.name, name, err)
			}
			structs[name] = typ.(*dwarf.StructType)
		case dwarf.TagConstant:
			if slices.Contains(layoutConstants, name) {
				d.constants[name] = fmt.Sprint(e.Val(dwarf.AttrConstValue))
			}
		}
	}
	found := 0
	for _, kind := range layoutKinds {
		for _, name := range kind.names {
			if s := structs[name]; s != nil {
				d.structs[kind.title] = fieldTable(s)
				found++
				break
			}
		}
	}
	if found != 4 || len(d.constants) < 4 {
		t.Errorf("%s: %d of 4 structs of its generation, %d constants", d.name, found, len(d.constants))
	}
}

// fieldTable is a struct in Markdown, a line for each field. The fields of an array's
// elements are those of the first.
func fieldTable(s *dwarf.StructType) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| offset | bytes | field | type |\n| ---: | ---: | --- | --- |\n")
	var walk func(s *dwarf.StructType, base int64, prefix string)
	walk = func(s *dwarf.StructType, base int64, prefix string) {
		for _, f := range s.Field {
			name := prefix + f.Name
			fmt.Fprintf(&b, "| %d | %d | `%s` | `%s` |\n", base+f.ByteOffset, f.Type.Size(), name, goName(f.Type))
			if a, ok := under(f.Type).(*dwarf.ArrayType); ok {
				if elem, ok := under(a.Type).(*dwarf.StructType); ok && elem.StructName != "string" {
					walk(elem, base+f.ByteOffset, name+"[0].")
				}
			}
			if inner, ok := under(f.Type).(*dwarf.StructType); ok && strings.Contains(inner.StructName, "groups") {
				walk(inner, base+f.ByteOffset, name+".")
			}
		}
	}
	walk(s, 0, "")
	fmt.Fprintf(&b, "| | %d | all | |\n", s.ByteSize)
	return b.String()
}

func under(t dwarf.Type) dwarf.Type {
	for {
		def, ok := t.(*dwarf.TypedefType)
		if !ok {
			return t
		}
		t = def.Type
	}
}

// goName is a type as Go writes it.
func goName(t dwarf.Type) string {
	switch t := t.(type) {
	case *dwarf.PtrType:
		if _, ok := t.Type.(*dwarf.VoidType); ok || t.Type == nil {
			return "unsafe.Pointer"
		}
		return "*" + goName(t.Type)
	case *dwarf.ArrayType:
		return fmt.Sprintf("[%d]%s", t.Count, goName(t.Type))
	case *dwarf.TypedefType:
		return strings.TrimPrefix(t.Name, "noalg.") // without hash and equality functions
	case *dwarf.StructType:
		if strings.HasPrefix(t.StructName, "struct {") {
			return "struct"
		}
		return t.StructName
	}
	return t.Common().Name
}

func layoutPage(all []described) string {
	var b strings.Builder
	b.WriteString(`# Layouts

How maps lie in memory on linux/amd64, from the debug information of a program that each toolchain has built. Toolchains with the same
layout stand together; a suffix is the value of GOEXPERIMENT. Which of the two generations a program has follows from the fields that its
header has. "HMAPTOOLS_ALL_TOOLCHAINS=1 go test . -run TestLayouts -update" writes this page, and the test fails when it is not what the
toolchains say.
`)
	for _, kind := range layoutKinds {
		if kind.heading != "" {
			fmt.Fprintf(&b, "\n## %s\n", kind.heading)
		}
		intro := kind.intro
		for _, group := range groupBy(all, func(d described) string { return d.structs[kind.title] }) {
			if group.text == "" {
				continue
			}
			fmt.Fprintf(&b, "\n### %s: %s\n\n", kind.title, strings.Join(group.names, ", "))
			if intro != "" {
				fmt.Fprintf(&b, "%s\n\n", intro)
				intro = ""
			}
			b.WriteString(group.text)
		}
	}
	b.WriteString("\n## Constants\n")
	for _, group := range groupBy(all, func(d described) string {
		var lines strings.Builder
		for _, name := range layoutConstants {
			if v, ok := d.constants[name]; ok {
				fmt.Fprintf(&lines, "| `%s` | %s |\n", name, v)
			}
		}
		return lines.String()
	}) {
		fmt.Fprintf(&b, "\n### Constants: %s\n\n| name | value |\n| --- | ---: |\n%s", strings.Join(group.names, ", "), group.text)
	}
	return b.String()
}

type sameText struct {
	text  string
	names []string
}

// groupBy puts toolchains with the same text together, in the order of the first.
func groupBy(all []described, text func(described) string) []sameText {
	var groups []sameText
	for _, d := range all {
		s := text(d)
		i := slices.IndexFunc(groups, func(g sameText) bool { return g.text == s })
		if i < 0 {
			i = len(groups)
			groups = append(groups, sameText{text: s})
		}
		groups[i].names = append(groups[i].names, d.name)
	}
	return groups
}

// section returns the table below the heading of the page that has the title and
// names the toolchain.
func section(text, title, toolchain string) string {
	for part := range strings.SplitSeq(text, "\n### ") {
		heading, rest, _ := strings.Cut(part, "\n")
		names, ok := strings.CutPrefix(heading, title+": ")
		if !ok || !slices.Contains(strings.Split(names, ", "), toolchain) {
			continue
		}
		var table strings.Builder
		for line := range strings.Lines(rest) {
			if strings.HasPrefix(line, "|") {
				table.WriteString(line)
			}
		}
		return table.String()
	}
	return ""
}
