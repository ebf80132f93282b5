package hmap

import (
	"fmt"
	"reflect"
)

// ifaceLayout is what finding the dynamic type of an interface needs: where an
// itab keeps its type, and the bit that says that a value lies in the data word
// itself. The bit moved from the kind to the tflag in Go 1.26; it is looked up by
// the constant that the target has.
type ifaceLayout struct {
	itabType RecordField
	direct   RecordField // of the type descriptor
	mask     uint64
	err      error
}

// Dynamic returns the type of the value that an interface of type t holds, and
// where the value lies; word holds the interface's two words. A nil interface
// gives a nil type. With direct, the value is the second word itself, and at is
// that word.
func (ts *Types) Dynamic(t *Type, words []byte) (dyn *Type, at Addr, direct bool, err error) {
	ptr := ts.PtrSize()
	if t.Kind != reflect.Interface || len(words) < 2*ptr {
		return nil, 0, false, fmt.Errorf("read interface: %s is none", t.Name)
	}
	tab, data := Addr(word(words[:ptr])), Addr(word(words[ptr:2*ptr]))
	if tab == 0 {
		return nil, 0, false, nil
	}
	l := ts.ifaces()
	if l.err != nil {
		return nil, 0, false, l.err
	}
	key := ifaceKey{tab, t.empty}
	d, ok := ts.dynamic[key]
	if !ok {
		d.t, d.direct, d.err = ts.describe(l, key)
		if len(ts.dynamic) < maxDynamic {
			ts.dynamic[key] = d
		}
	}
	return d.t, data, d.direct, d.err
}

// ifaceKey is the first word of an interface: a descriptor where it has no
// methods, else an itab.
type ifaceKey struct {
	word  Addr
	empty bool
}

// dynamicType is what an ifaceKey was found to say.
type dynamicType struct {
	t      *Type
	direct bool
	err    error
}

// maxDescriptor bounds the offsets in a type descriptor.
const maxDescriptor = 1 << 10

// maxDynamic bounds what is remembered: in memory that is no interface any word
// may stand.
const maxDynamic = 1 << 16

func (ts *Types) describe(l *ifaceLayout, key ifaceKey) (*Type, bool, error) {
	desc := key.word
	if !key.empty {
		buf := make([]byte, ts.PtrSize())
		if err := read(ts.mem, "itab", buf, desc+Addr(l.itabType.Off)); err != nil {
			return nil, false, err
		}
		desc = Addr(word(buf))
	}
	t, err := ts.OfDescriptor(desc)
	if err != nil {
		return nil, false, err
	}
	flags := make([]byte, l.direct.Size)
	if err := read(ts.mem, "type descriptor", flags, desc+Addr(l.direct.Off)); err != nil {
		return nil, false, err
	}
	return t, word(flags)&l.mask != 0, nil
}

func (ts *Types) ifaces() *ifaceLayout {
	if ts.iface != nil {
		return ts.iface
	}
	l := &ifaceLayout{}
	ts.iface = l
	pick := func(into *RecordField, alternatives ...[2]string) {
		for _, a := range alternatives {
			if t := ts.named(a[0]); t != nil {
				if f, ok := fieldNamed(t, a[1]); ok && f.Type.Size <= 8 && f.Off >= 0 && f.Off < maxDescriptor {
					*into = RecordField{Name: a[1], Off: int(f.Off), Size: int(f.Type.Size)}
					return
				}
			}
		}
		l.err = &LayoutError{"interfaces", alternatives[0][0] + "." + alternatives[0][1]}
	}
	pick(&l.itabType, [2]string{"internal/abi.ITab", "Type"}, [2]string{"runtime.itab", "_type"})
	if m, ok := ts.Const("internal/abi.TFlagDirectIface"); ok {
		l.mask = uint64(m)
		pick(&l.direct, [2]string{"internal/abi.Type", "TFlag"})
	} else if m, ok := ts.Const("internal/abi.KindDirectIface", "runtime.kindDirectIface"); ok {
		l.mask = uint64(m)
		pick(&l.direct, [2]string{"internal/abi.Type", "Kind_"}, [2]string{"runtime._type", "kind"})
	} else {
		l.err = &LayoutError{"interfaces", "constant internal/abi.TFlagDirectIface"}
	}
	return l
}
