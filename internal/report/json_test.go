package report

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"hmaptools/internal/hmap"
)

// randomValue fills a value with something, so that no field is left out.
func randomValue(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				randomValue(r, v.Field(i))
			}
		}
		if f, ok := v.Addr().Interface().(*Field); ok {
			f.Name = "globalDepth" // of a struct's field, and never anything else
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			randomValue(r, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			randomValue(r, v.Index(i))
		}
	case reflect.String:
		v.SetString([]string{"", "main.m", `m["a\b"]`, "<é\n>", "map[string]int", "\x00\xff\u2028"}[r.IntN(6)])
	case reflect.Float64:
		v.SetFloat([]float64{0, 0.125, 1, 0.001, 1e-9, 1e22, -3.5}[r.IntN(7)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, 1 << 62}[r.IntN(4)])
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint([]uint64{0, 1, 200, 1<<64 - 1}[r.IntN(4)])
	case reflect.Interface: // the value of a header's field
		v.Set(reflect.ValueOf([]any{hmap.Addr(0xc000), uint64(1<<64 - 1), int64(-1), true, []string{"iterator"}}[r.IntN(5)]))
	}
}

// TestJSON holds what is written by hand against what encoding/json makes of the same
// document.
func TestJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		d := &Document{Schema: 1}
		randomValue(r, reflect.ValueOf(d).Elem())
		d.Summary.SyncMaps = len(d.SyncMaps)
		if d.Maps == nil {
			d.Maps = []Map{}
		}
		var got, want bytes.Buffer
		if err := d.JSON(&got); err != nil {
			t.Fatal(err)
		}
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("got\n%s\nwant\n%s", got.Bytes(), want.Bytes())
		}
	}
}
