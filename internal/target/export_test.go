package target

import (
	"fmt"

	"github.com/go-delve/delve/pkg/proc"
)

// DelveMap loads the map whose variable lies at addr as Delve itself reads it,
// with all of its entries.
func (t *Target) DelveMap(typ string, addr uint64) (*proc.Variable, error) {
	cfg := proc.LoadConfig{FollowPointers: false, MaxVariableRecurse: 1, MaxStringLen: 64, MaxArrayValues: 1 << 20, MaxStructFields: -1}
	return t.evalIn(t.globalScope(t.tgt.Memory()), fmt.Sprintf("*(*%q)(%#x)", typ, addr), cfg)
}
