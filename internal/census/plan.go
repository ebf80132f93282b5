package census

import (
	"reflect"
	"strconv"
	"strings"

	"hmaptools/internal/hmap"
	"hmaptools/internal/syncmap"
	"hmaptools/internal/target"
)

// op is what is done with a word, or a few, that lead on.
type op uint8

const (
	opMap     op = iota // a map variable
	opHeader            // a pointer of the runtime's own to a header
	opPointer           // to a value of type to
	opSlice             // pointer, length, capacity of values of type to
	opIface             // an interface
	opFunc              // a func value: a pointer to a closure
	opChan              // a pointer to runtime.hchan
	opArray             // n values of type to, in place
	opPool              // the two pointers of a sync.Pool to its per-P caches
	opSync              // a sync.Map, or what it is made of since Go 1.24
	opReflect           // a reflect.Value
	opRoot              // not in memory: the variable at which a path starts
)

// ref is a place in a value that leads to maps, or may.
type ref struct {
	op   op
	kind Kind       // of a holder at this place; Unknown if that depends on where the value is
	id   uint32     // in paths.refs; 0: not yet
	off  int64      // bytes from the start of the value
	t    *hmap.Type // of the place
	elem *hmap.Type // opPointer, opSlice, opArray, opChan (nil: as the channel says): of what it leads to
	n    int64      // opArray: how many; opRoot: its place among the roots

	suffix string // of the path, from the value's start: ".srv.sessions[3]"
	// variable: opPointer; it has no name of its own, the suffix is what it points at.
	variable bool
	assert   string // a type, or a function, that is only known from what is there
	root     *target.Root
	keys     *keyText // of a map's entry: a node's index is the address of its key
	to       *plan    // of elem, once it was asked for
}

// plan is what of a type's values is looked at.
type plan struct {
	id   uint32 // from 1 on
	t    *hmap.Type
	size int64
	refs []ref
	// ready says that goroutines may look at values by it: the plans behind its
	// pointers are known.
	ready bool
}

// prepare makes a plan ready.
func (ps *plans) prepare(p *plan) {
	if p.ready {
		return
	}
	p.ready = true
	for i := range p.refs {
		if r := &p.refs[i]; r.op == opPointer {
			ps.behind(r)
		}
	}
}

// inlineRefs bounds the places of a small array that are listed one by one.
const inlineRefs = 16

// plans makes one plan for each type.
type plans struct {
	types  *hmap.Types
	byType map[*hmap.Type]*plan
	leads  map[*hmap.Type]bool
	any    *hmap.Type // interface {}, nil if the target has none
	ptr    int64

	untyped *hmap.Type
}

func newPlans(types *hmap.Types) *plans {
	return &plans{
		types: types, byType: map[*hmap.Type]*plan{}, leads: map[*hmap.Type]bool{},
		any: types.Named("interface {}"), ptr: int64(types.PtrSize()),
	}
}

// pointer is the type of a word of which nothing else is known.
func (ps *plans) pointer() *hmap.Type {
	if ps.untyped == nil {
		if ps.untyped = ps.types.Named("unsafe.Pointer"); ps.untyped == nil {
			ps.untyped = &hmap.Type{Name: "unsafe.Pointer", Kind: reflect.UnsafePointer, Size: ps.ptr}
		}
	}
	return ps.untyped
}

// of returns the plan of a type.
func (ps *plans) of(t *hmap.Type) *plan {
	if p, ok := ps.byType[t]; ok {
		return p
	}
	p := &plan{id: uint32(len(ps.byType)) + 1, t: t, size: t.Size}
	ps.byType[t] = p
	if t.Size > 0 && t.Size <= maxValue {
		ps.add(p, t, 0, "", Unknown)
	}
	return p
}

// behind returns the plan of what a place leads to.
func (ps *plans) behind(r *ref) *plan {
	if r.to == nil {
		r.to = ps.of(r.elem)
	}
	return r.to
}

// add lists the places of a value of type t that lies at off in the plan's.
func (ps *plans) add(p *plan, t *hmap.Type, off int64, suffix string, kind Kind) {
	if !ps.leadsOn(t) || off < 0 || off+t.Size > p.size {
		return
	}
	r := ref{kind: kind, off: off, t: t, suffix: suffix}
	switch t.Kind {
	case reflect.Map:
		r.op = opMap
	case reflect.Pointer:
		e := t.Elem()
		r.op, r.elem = opPointer, e
		switch e.Name {
		case "runtime.hmap", "internal/runtime/maps.Map":
			r.op = opHeader
		case "runtime.hchan":
			r.op, r.elem = opChan, nil
		case "runtime.funcval":
			r.op = opFunc
		}
	case reflect.Slice:
		r.op, r.elem = opSlice, t.Elem()
	case reflect.Interface:
		r.op = opIface
	case reflect.Func:
		r.op = opFunc
	case reflect.Chan:
		r.op, r.elem = opChan, t.Elem()
	case reflect.Array:
		ps.addArray(p, t, off, suffix)
		return
	case reflect.Struct:
		ps.addStruct(p, t, off, suffix)
		return
	default:
		return
	}
	p.refs = append(p.refs, r)
}

func (ps *plans) addArray(p *plan, t *hmap.Type, off int64, suffix string) {
	e := t.Elem()
	if e == nil || e.Size <= 0 || t.Len <= 0 || t.Len > t.Size/e.Size {
		return
	}
	if per := ps.of(e); t.Len <= inlineRefs && t.Len*int64(len(per.refs)) <= inlineRefs {
		for i := range t.Len {
			ps.add(p, e, off+i*e.Size, suffix+"["+strconv.FormatInt(i, 10)+"]", Element)
		}
		return
	}
	p.refs = append(p.refs, ref{op: opArray, off: off, t: t, elem: e, n: t.Len, suffix: suffix})
}

// addStruct lists the fields, or what a struct is known to hide behind fields of
// type unsafe.Pointer. The names and fields are those of Go 1.18 to 1.27.
func (ps *plans) addStruct(p *plan, t *hmap.Type, off int64, suffix string) {
	special := func(o op, elem *hmap.Type, f hmap.Field) {
		p.refs = append(p.refs, ref{op: o, kind: Field, off: off + f.Off, t: t, elem: elem, suffix: suffix})
	}
	if e, v, ok := atomicPointer(t); ok {
		// sync/atomic/type.go: what Load returns; the path leaves the field out.
		special(opPointer, e, v)
		return
	}
	switch {
	case t.Name == "sync.eface":
		// sync/poolqueue.go: an interface whose words are stored one by one.
		if ps.any != nil {
			p.refs = append(p.refs, ref{op: opIface, kind: Field, off: off, t: ps.any, suffix: suffix})
		}
		return
	case t.Name == "sync.entry":
		return // of a sync.Map, which is looked at as a whole
	case t.Name == "runtime.gobuf":
		// runtime2.go: ctxt is the closure of a goroutine that has not started.
		if f, ok := field(t, "ctxt"); ok && f.Type.Kind == reflect.UnsafePointer {
			p.refs = append(p.refs, ref{op: opFunc, kind: Field, off: off + f.Off, t: f.Type, suffix: suffix + ".ctxt"})
		}
		return
	case t.Name == "reflect.Value":
		special(opReflect, nil, hmap.Field{})
		return
	case t.Name == "sync.Pool":
		special(opPool, nil, hmap.Field{})
	case syncmap.Is(t):
		special(opSync, nil, hmap.Field{})
		if _, ok := field(t, "dirty"); !ok {
			return
		}
	}
	for _, f := range t.Fields() {
		ps.add(p, f.Type, off+f.Off, suffix+"."+f.Name, Field)
	}
}

// atomicPointer returns what a sync/atomic.Pointer[T] points at, and its field v.
// The type of T is the one of the field _ [0]*T.
func atomicPointer(t *hmap.Type) (elem *hmap.Type, v hmap.Field, ok bool) {
	if t.Kind != reflect.Struct || !strings.HasPrefix(t.Name, "sync/atomic.Pointer[") {
		return nil, v, false
	}
	for _, f := range t.Fields() {
		switch {
		case f.Type.Kind == reflect.Array && f.Type.Elem() != nil && f.Type.Elem().Kind == reflect.Pointer:
			elem = f.Type.Elem().Elem()
		case f.Name == "v" && f.Type.Kind == reflect.UnsafePointer:
			v, ok = f, true
		}
	}
	return elem, v, ok && elem != nil
}

func field(t *hmap.Type, name string) (hmap.Field, bool) {
	for _, f := range t.Fields() {
		if f.Name == name {
			return f, true
		}
	}
	return hmap.Field{}, false
}

// closed are types of the runtime that lead to much and to nothing of a program's:
// type descriptors refer to functions that compare values, spans to each other.
var closed = map[string]bool{
	"internal/abi.Type": true, "runtime._type": true, "runtime.mspan": true, "runtime.mheap": true, "runtime.mcache": true,
	"runtime.moduledata": true, "runtime.itab": true, "internal/abi.ITab": true, "reflect.rtype": true, "internal/abi.Imethod": true,
}

// leadsOn reports whether a value of t can hold a map, or anything that can.
func (ps *plans) leadsOn(t *hmap.Type) bool {
	if t == nil {
		return false
	}
	if v, ok := ps.leads[t]; ok {
		return v
	}
	// Breadth first through the type graph; all that was seen is settled only
	// when nothing in it leads on, since types are cyclic.
	seen := map[*hmap.Type]bool{t: true}
	order := []*hmap.Type{t}
	for i := 0; i < len(order); i++ {
		x := order[i]
		known, ok := ps.leads[x]
		if ok && !known || closed[x.Name] {
			continue
		}
		if ok || leadsByKind(x) {
			ps.leads[t] = true
			return true
		}
		add := func(y *hmap.Type) {
			if y != nil && !seen[y] {
				seen[y] = true
				order = append(order, y)
			}
		}
		switch x.Kind {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
			add(x.Elem())
		case reflect.Struct:
			if e, _, ok := atomicPointer(x); ok {
				add(e)
			}
			for _, f := range x.Fields() {
				add(f.Type)
			}
		}
	}
	for _, x := range order {
		ps.leads[x] = false
	}
	return false
}

// leadsByKind reports whether values of t may lead to maps whatever their parts are.
func leadsByKind(t *hmap.Type) bool {
	switch t.Kind {
	case reflect.Map, reflect.Interface, reflect.Func:
		return true
	case reflect.Struct:
		switch t.Name {
		case "runtime.hmap", "internal/runtime/maps.Map", "runtime.hchan", "runtime.funcval", "reflect.Value", "sync.Pool",
			"runtime.gobuf", "sync.eface":
			return true
		}
		return syncmap.Is(t)
	}
	return false
}
