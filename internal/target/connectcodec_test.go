package target

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"testing"

	"github.com/go-delve/delve/service/rpc2"
)

// answering is a server of the standard library's, which Delve's is made of.
type answering struct{}

func (answering) ExamineMemory(in rpc2.ExamineMemoryIn, out *rpc2.ExaminedMemoryOut) error {
	if in.Address == 0 {
		return errors.New(`no memory there: "0"`)
	}
	r := rand.New(rand.NewPCG(in.Address, 1))
	out.IsLittleEndian = in.Address%2 == 1
	for range in.Length {
		out.Mem = append(out.Mem, byte(r.Uint32()))
	}
	return nil
}

func (answering) ListTargets(in rpc2.ListTargetsIn, out *rpc2.ProcessPidOut) error {
	out.Pid = 4711
	return nil
}

// TestJSONCodec: it says what the standard library's client says, with many calls under way.
func TestJSONCodec(t *testing.T) {
	srv := rpc.NewServer()
	if err := srv.RegisterName("RPCServer", answering{}); err != nil {
		t.Fatal(err)
	}
	dial := func(codec func(net.Conn) *rpc.Client) *rpc.Client {
		here, there := net.Pipe()
		go srv.ServeCodec(jsonrpc.NewServerCodec(there))
		c := codec(here)
		t.Cleanup(func() { c.Close() })
		return c
	}
	ours := dial(func(c net.Conn) *rpc.Client { return rpc.NewClientWithCodec(newJSONCodec(c)) })
	theirs := dial(func(c net.Conn) *rpc.Client { return jsonrpc.NewClient(c) })
	var calls []*rpc.Call
	for addr := range uint64(40) {
		in := rpc2.ExamineMemoryIn{Address: addr, Length: int(addr * addr * 43)} // up to 64 KiB
		calls = append(calls, ours.Go("RPCServer.ExamineMemory", in, &rpc2.ExaminedMemoryOut{}, nil))
	}
	for _, c := range calls {
		<-c.Done
		var want rpc2.ExaminedMemoryOut
		err := theirs.Call("RPCServer.ExamineMemory", c.Args, &want)
		got := c.Reply.(*rpc2.ExaminedMemoryOut)
		if (err == nil) != (c.Error == nil) || err != nil && err.Error() != c.Error.Error() || !bytes.Equal(got.Mem, want.Mem) || got.IsLittleEndian != want.IsLittleEndian {
			t.Errorf("%+v: %v, %d bytes; want %v, %d bytes", c.Args, c.Error, len(got.Mem), err, len(want.Mem))
		}
	}
	var pid rpc2.ProcessPidOut
	if err := ours.Call("RPCServer.ListTargets", rpc2.ListTargetsIn{}, &pid); err != nil || pid.Pid != 4711 {
		t.Errorf("ListTargets: %+v, %v", pid, err)
	}
	if err := ours.Call("RPCServer.Nothing", 1, nil); err == nil {
		t.Error("a method that is not there answers")
	}
}

// TestMemoryAnswer: the quick way is taken for what Delve sends, and for nothing else.
func TestMemoryAnswer(t *testing.T) {
	want := []byte("some memory \x00\xff>>>???")
	line, err := json.Marshal(struct {
		ID     uint64 `json:"id"`
		Result any    `json:"result"`
		Error  any    `json:"error"`
	}{17, rpc2.ExaminedMemoryOut{Mem: want, IsLittleEndian: true}, nil})
	if err != nil {
		t.Fatal(err)
	}
	line = append(line, '\n')
	id, mem, ok := memoryAnswer(line)
	c := &jsonCodec{mem: mem}
	var out rpc2.ExaminedMemoryOut
	if err := c.ReadResponseBody(&out); !ok || err != nil || id != 17 || !bytes.Equal(out.Mem, want) {
		t.Errorf("%s: id %d, %q, %v", line, id, out.Mem, err)
	}
	for i := range line {
		if _, _, ok := memoryAnswer(line[:i]); ok {
			t.Errorf("half an answer is taken: %s", line[:i])
		}
	}
	if err := c.ReadResponseBody(&rpc2.ListTargetsOut{}); err == nil {
		t.Error("memory is taken for something else")
	}
}
