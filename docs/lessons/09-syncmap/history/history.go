// Package history records what goroutines do with a map and checks whether some
// order explains it: whether the map was linearizable.
//
// An operation takes effect at one moment between its call and its return. A history
// is explained if such moments can be chosen so that each operation, done in their
// order on an ordinary map, gives the result that was recorded. Operations on
// different keys of a map do not depend on each other, and linearizability is local
// (Herlihy and Wing, 1990): a history is explained if each key's part of it is.
package history

import (
	"fmt"
	"time"
)

// Map is what sync.Map offers for one key.
type Map interface {
	Load(key any) (value any, ok bool)
	Store(key, value any)
	Delete(key any)
	LoadAndDelete(key any) (value any, loaded bool)
	LoadOrStore(key, value any) (actual any, loaded bool)
	Swap(key, value any) (previous any, loaded bool)
	CompareAndSwap(key, old, new any) bool
	CompareAndDelete(key, old any) bool
}

// Kind is a method of Map.
type Kind uint8

const (
	Load Kind = iota
	Store
	Delete
	LoadAndDelete
	LoadOrStore
	Swap
	CompareAndSwap
	CompareAndDelete
	Kinds
)

var kindNames = [Kinds]string{"Load", "Store", "Delete", "LoadAndDelete", "LoadOrStore", "Swap", "CompareAndSwap", "CompareAndDelete"}

func (k Kind) String() string { return kindNames[k] }

// Op is one operation. Which of Old, New, Value and OK mean something follows from
// its kind.
type Op struct {
	Goroutine int
	Kind      Kind
	Key       int
	Old, New  int  // arguments
	Value     int  // result; 0 where the map had none
	OK        bool // result
	// Call and Return are nanoseconds of one monotonic clock. A counter that all
	// goroutines increment would do as well, and would order what it is to observe.
	Call, Return int64
}

func (o Op) String() string {
	var args, result string
	switch o.Kind {
	case Load, LoadAndDelete:
		result = fmt.Sprintf(" = %d, %v", o.Value, o.OK)
	case Store:
		args = fmt.Sprint(", ", o.New)
	case LoadOrStore, Swap:
		args, result = fmt.Sprint(", ", o.New), fmt.Sprintf(" = %d, %v", o.Value, o.OK)
	case CompareAndSwap:
		args, result = fmt.Sprintf(", %d, %d", o.Old, o.New), fmt.Sprintf(" = %v", o.OK)
	case CompareAndDelete:
		args, result = fmt.Sprint(", ", o.Old), fmt.Sprintf(" = %v", o.OK)
	}
	return fmt.Sprintf("goroutine %d, %d to %d: %v(%d%s)%s", o.Goroutine, o.Call, o.Return, o.Kind, o.Key, args, result)
}

// Do does the operation on m and fills in its results and times, those since start.
func (o *Op) Do(m Map, start time.Time) {
	var v any
	o.Call = time.Since(start).Nanoseconds()
	switch o.Kind {
	case Load:
		v, o.OK = m.Load(o.Key)
	case Store:
		m.Store(o.Key, o.New)
	case Delete:
		m.Delete(o.Key)
	case LoadAndDelete:
		v, o.OK = m.LoadAndDelete(o.Key)
	case LoadOrStore:
		v, o.OK = m.LoadOrStore(o.Key, o.New)
	case Swap:
		v, o.OK = m.Swap(o.Key, o.New)
	case CompareAndSwap:
		o.OK = m.CompareAndSwap(o.Key, o.Old, o.New)
	case CompareAndDelete:
		o.OK = m.CompareAndDelete(o.Key, o.Old)
	}
	o.Return = time.Since(start).Nanoseconds()
	if v != nil {
		o.Value = v.(int)
	}
}
