package hmap

import (
	"reflect"
	"slices"
)

// mapLayout builds the layout of the map type t. header is the type of a map
// variable's word as the linker describes it (cmd/link/internal/ld/dwarf.go,
// synthesizemaptypes): *hash<K,V> for Classic, *map<K,V> for Swiss. These repeat
// the runtime's own structs, with the bucket or the group of this very type.
func (ts *Types) mapLayout(t, header *Type) (*Layout, error) {
	if header == nil || header.Kind != reflect.Pointer || header.Elem() == nil || len(header.Elem().Fields()) == 0 {
		return nil, &LayoutError{t.Name, "the header behind the map type"}
	}
	h := header.Elem()
	if f, ok := fieldNamed(h, "buckets"); ok {
		return ts.layoutOf(t, h, f.Type.Elem(), nil)
	}
	f, ok := fieldNamed(h, "dirPtr")
	if !ok {
		return nil, &LayoutError{t.Name, "buckets or dirPtr in the header"}
	}
	var table *Type
	if p := f.Type.Elem(); p != nil {
		table = p.Elem()
	}
	if table == nil {
		return nil, &LayoutError{t.Name, "the type of Map.dirPtr"}
	}
	groups, ok := fieldNamed(table, "groups")
	if !ok {
		return nil, &LayoutError{t.Name, "table.groups"}
	}
	data, ok := fieldNamed(groups.Type, "data")
	if !ok {
		return nil, &LayoutError{t.Name, "table.groups.data"}
	}
	return ts.layoutOf(t, h, data.Type.Elem(), table)
}

// layoutOf builds the layout of the map type t from its parts: the types of the
// header, of a bucket or a group, and of a table (nil if there are none).
func (ts *Types) layoutOf(t, header, block, table *Type) (*Layout, error) {
	lacks := func(what string) error { return &LayoutError{t.Name, what} }
	switch {
	case header == nil || header.Kind != reflect.Struct:
		return nil, lacks("the type of the header")
	case block == nil || block.Kind != reflect.Struct:
		return nil, lacks("the type of its buckets or groups")
	}
	l := &Layout{PtrSize: ts.PtrSize(), Key: t.Key(), Elem: t.Elem(), Header: RecordOf(header)}
	if l.Key == nil || l.Elem == nil {
		return nil, lacks("the key and elem type")
	}
	var err error
	if l.Alloc, err = ts.sizeClasses(); err != nil {
		return nil, err
	}
	if _, ok := fieldNamed(header, "buckets"); ok {
		l.Generation, l.Variant = Classic, Bucket
		err = ts.bucketLayout(l, block, lacks)
	} else {
		if table == nil {
			return nil, lacks("the type of its tables")
		}
		l.Generation, l.Table = Swiss, RecordOf(table)
		err = l.setGroup(block, lacks)
	}
	if err != nil {
		return nil, err
	}
	l.Block.IndirectKey = l.Block.KeySize == l.PtrSize && l.Key.Size != int64(l.PtrSize)
	l.Block.IndirectElem = l.Block.ElemSize == l.PtrSize && l.Elem.Size != int64(l.PtrSize)
	l.Block.Pointers = l.Block.IndirectKey || l.Block.IndirectElem || l.Key.Pointers() || l.Elem.Pointers()
	if l.Consts, err = ts.constants(l.Generation, lacks); err != nil {
		return nil, err
	}
	return l, l.finish(t.Name)
}

// fieldNamed looks a field up under any of some names.
func fieldNamed(t *Type, names ...string) (Field, bool) {
	for _, f := range t.Fields() {
		if slices.Contains(names, f.Name) {
			return f, true
		}
	}
	return Field{}, false
}

// bucketLayout takes the block from the bucket type. The linker has other names for
// its fields than cmd/compile/internal/reflectdata.
func (ts *Types) bucketLayout(l *Layout, b *Type, lacks func(string) error) error {
	top, ok1 := fieldNamed(b, "tophash", "topbits")
	keys, ok2 := fieldNamed(b, "keys")
	elems, ok3 := fieldNamed(b, "values", "elems")
	over, ok4 := fieldNamed(b, "overflow")
	if !ok1 || !ok2 || !ok3 || !ok4 || keys.Type.Elem() == nil || elems.Type.Elem() == nil {
		return lacks("tophash, keys, values and overflow in the bucket type")
	}
	l.Block = Block{
		Size: int(b.Size), Slots: int(top.Type.Len), Meta: int(top.Off), Overflow: int(over.Off),
		Keys: int(keys.Off), KeyStride: int(keys.Type.Elem().Size), KeySize: int(keys.Type.Elem().Size),
		Elems: int(elems.Off), ElemStride: int(elems.Type.Elem().Size), ElemSize: int(elems.Type.Elem().Size),
	}
	extra := ts.named("runtime.mapextra")
	if extra == nil {
		return lacks("runtime.mapextra")
	}
	l.Extra = RecordOf(extra)
	return nil
}

// setGroup takes the block from the group type, of either variant. The fields
// are named as in cmd/compile/internal/reflectdata; those of a type that
// reflect.MapOf made begin with a capital.
func (l *Layout) setGroup(g *Type, lacks func(string) error) error {
	ctrl, ok := fieldNamed(g, "ctrl", "Ctrl")
	if !ok {
		// abi.SwissMapGroup names its fields ctrl and slots since 1.24.
		return lacks("ctrl in the group type")
	}
	l.Block = Block{Size: int(g.Size), Slots: int(ctrl.Type.Size), Meta: int(ctrl.Off)}
	b := &l.Block
	if slots, ok := fieldNamed(g, "slots", "Slots"); ok && slots.Type.Elem() != nil {
		slot := slots.Type.Elem()
		key, ok1 := fieldNamed(slot, "key", "Key")
		elem, ok2 := fieldNamed(slot, "elem", "Elem")
		if !ok1 || !ok2 || slots.Type.Len != int64(b.Slots) {
			return lacks("key and elem in the slot type")
		}
		l.Variant = Interleaved
		b.Keys, b.KeyStride, b.KeySize = int(slots.Off+key.Off), int(slot.Size), int(key.Type.Size)
		b.Elems, b.ElemStride, b.ElemSize = int(slots.Off+elem.Off), int(slot.Size), int(elem.Type.Size)
		return nil
	}
	keys, ok1 := fieldNamed(g, "keys", "Keys")
	elems, ok2 := fieldNamed(g, "elems", "Elems")
	if !ok1 || !ok2 || keys.Type.Elem() == nil || elems.Type.Elem() == nil || keys.Type.Len != int64(b.Slots) {
		return lacks("slots, or keys and elems, in the group type")
	}
	l.Variant = SplitGroup
	k, e := int(keys.Type.Elem().Size), int(elems.Type.Elem().Size)
	b.Keys, b.KeyStride, b.KeySize = int(keys.Off), k, k
	b.Elems, b.ElemStride, b.ElemSize = int(elems.Off), e, e
	return nil
}

// constants reads the constants of one generation; the other's stay zero.
func (ts *Types) constants(g Generation, lacks func(string) error) (*Consts, error) {
	if ts.consts != nil {
		return ts.consts, nil
	}
	c := &Consts{}
	var missing error
	get := func(name string) uint64 {
		v, ok := ts.info.Const(name)
		if !ok && missing == nil {
			missing = lacks("constant " + name)
		}
		return uint64(v)
	}
	if g == Classic {
		c.EmptyRest, c.EmptyOne = uint8(get("runtime.emptyRest")), uint8(get("runtime.emptyOne"))
		c.EvacuatedX, c.EvacuatedY = uint8(get("runtime.evacuatedX")), uint8(get("runtime.evacuatedY"))
		c.EvacuatedEmpty, c.MinTopHash = uint8(get("runtime.evacuatedEmpty")), uint8(get("runtime.minTopHash"))
		c.Iterator, c.OldIterator = uint8(get("runtime.iterator")), uint8(get("runtime.oldIterator"))
		c.HashWriting, c.SameSizeGrow = uint8(get("runtime.hashWriting")), uint8(get("runtime.sameSizeGrow"))
		c.LoadFactorNum, c.LoadFactorDen = get("runtime.loadFactorNum"), get("runtime.loadFactorDen")
		if missing == nil && c.LoadFactorDen == 0 {
			missing = lacks("a runtime.loadFactorDen other than 0")
		}
	} else {
		const maps = "internal/runtime/maps."
		c.CtrlEmpty, c.CtrlDeleted = uint8(get(maps+"ctrlEmpty")), uint8(get(maps+"ctrlDeleted"))
		c.MaxTableCapacity, c.MaxAvgGroupLoad = get(maps+"maxTableCapacity"), get(maps+"maxAvgGroupLoad")
		if missing == nil && (c.MaxTableCapacity == 0 || c.MaxAvgGroupLoad == 0 || c.MaxAvgGroupLoad > 8) {
			missing = lacks("a maxTableCapacity and maxAvgGroupLoad that make sense")
		}
	}
	if missing != nil {
		return nil, missing
	}
	ts.consts = c
	return c, nil
}
