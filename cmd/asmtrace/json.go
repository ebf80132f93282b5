package main

import (
	"encoding/json"
	"fmt"
	"io"

	"hmaptools/internal/asmnote"
)

// schema is the version of the JSON. Fields are added freely, never renamed.
const schema = 1

// A jsonOutput writes one document, function by function.
type jsonOutput struct {
	w      io.Writer
	target *target
	n      int
	prof   *samples
}

func (o *jsonOutput) weights(s *samples) { o.prof = s }

// weighed is a function with the samples of its operations, in their order.
type weighed struct {
	*asmnote.Func
	Samples []int64 `json:"samples,omitempty"` // in the profile's unit
	Unit    string  `json:"samples_unit,omitempty"`
}

func (o *jsonOutput) render(f *asmnote.Func) ([]byte, error) {
	if f.Ops == nil {
		f.Ops = []asmnote.Op{}
	}
	v := weighed{Func: f}
	if o.prof != nil {
		v.Unit = o.prof.unit
		for i := range f.Ops {
			v.Samples = append(v.Samples, o.prof.of(&f.Ops[i]).total)
		}
	}
	return json.Marshal(v)
}

func (o *jsonOutput) write(_ *asmnote.Func, b []byte) error {
	head := ",\n"
	if o.n == 0 {
		// Now the target is known.
		goVersion, err := json.Marshal(o.target.version)
		if err != nil {
			return err
		}
		arch, err := json.Marshal(o.target.arch)
		if err != nil {
			return err
		}
		head = fmt.Sprintf(`{"schema":%d,"tool":"asmtrace","go":%s,"goarch":%s,"funcs":[`, schema, goVersion, arch) + "\n"
	}
	o.n++
	if _, err := io.WriteString(o.w, head); err != nil {
		return err
	}
	_, err := o.w.Write(b)
	return err
}

func (o *jsonOutput) end(tr *trace) error {
	if o.n == 0 {
		return nil // an error says why
	}
	tail := "\n]"
	if tr != nil {
		b, err := json.Marshal(map[string]any{"calls": tr.calls, "calls_matched": tr.calls + tr.matched, "functions": len(tr.names)})
		if err != nil {
			return err
		}
		tail += ",\n\"summary\":" + string(b)
		if len(tr.dicts) > 0 {
			if b, err = json.Marshal(tr.dicts); err != nil {
				return err
			}
			tail += ",\n\"dictionaries\":" + string(b)
		}
	}
	_, err := io.WriteString(o.w, tail+"}\n")
	return err
}
