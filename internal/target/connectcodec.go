package target

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"strconv"

	"github.com/go-delve/delve/service/rpc2"
)

// jsonCodec is the client's side of net/rpc/jsonrpc, which Delve speaks: a request or an
// answer is one line of JSON. The package's own codec goes over an answer three times,
// byte by byte; memory comes in lines of 87 KiB, and this one takes it out of those in
// one go. All other answers are read by encoding/json.
type jsonCodec struct {
	conn io.ReadWriteCloser
	r    *bufio.Reader
	w    *bufio.Writer
	enc  *json.Encoder

	// Of the answer whose header was read last:
	line   []byte
	mem    []byte // the memory in base64, if the answer is of the form that is expected
	result json.RawMessage
}

// maxAnswer is how long a line of a server may be.
const maxAnswer = 64 << 20

func newJSONCodec(conn io.ReadWriteCloser) *jsonCodec {
	w := bufio.NewWriter(conn)
	return &jsonCodec{conn: conn, r: bufio.NewReaderSize(conn, 128<<10), w: w, enc: json.NewEncoder(w)}
}

// WriteRequest implements rpc.ClientCodec.
func (c *jsonCodec) WriteRequest(r *rpc.Request, param any) error {
	err := c.enc.Encode(struct {
		Method string `json:"method"`
		Params [1]any `json:"params"`
		ID     uint64 `json:"id"`
	}{r.ServiceMethod, [1]any{param}, r.Seq})
	return errors.Join(err, c.w.Flush())
}

// ReadResponseHeader implements rpc.ClientCodec.
func (c *jsonCodec) ReadResponseHeader(r *rpc.Response) error {
	if err := c.readLine(); err != nil {
		return err
	}
	c.mem, c.result = nil, nil
	if id, mem, ok := memoryAnswer(c.line); ok {
		r.Seq, r.Error, c.mem = id, "", mem
		return nil
	}
	var a struct {
		ID     *uint64         `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  any             `json:"error"`
	}
	if err := json.Unmarshal(c.line, &a); err != nil {
		return err
	}
	if a.ID == nil {
		return errors.New("an answer without an id")
	}
	r.Seq, r.Error, c.result = *a.ID, "", a.Result
	if a.Error != nil || len(a.Result) == 0 {
		text, ok := a.Error.(string)
		if !ok {
			return fmt.Errorf("invalid error %v", a.Error)
		}
		if r.Error = text; text == "" {
			r.Error = "unspecified error"
		}
	}
	return nil
}

// ReadResponseBody implements rpc.ClientCodec.
func (c *jsonCodec) ReadResponseBody(body any) error {
	switch out, ok := body.(*rpc2.ExaminedMemoryOut); {
	case body == nil:
		return nil
	case c.mem != nil && ok:
		out.Mem = make([]byte, base64.StdEncoding.DecodedLen(len(c.mem)))
		n, err := base64.StdEncoding.Decode(out.Mem, c.mem)
		out.Mem, out.IsLittleEndian = out.Mem[:n], true
		return err
	case c.mem != nil:
		return errors.New("an answer of memory to another question")
	}
	return json.Unmarshal(c.result, body)
}

// Close implements rpc.ClientCodec.
func (c *jsonCodec) Close() error { return c.conn.Close() }

func (c *jsonCodec) readLine() error {
	c.line = c.line[:0]
	for {
		part, err := c.r.ReadSlice('\n')
		c.line = append(c.line, part...)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) && len(c.line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		case len(c.line) > maxAnswer:
			return fmt.Errorf("an answer of more than %d bytes", maxAnswer)
		}
	}
}

var (
	memoryHead = []byte(`{"id":`)
	memoryBody = []byte(`,"result":{"Mem":"`)
	memoryTail = []byte(`","IsLittleEndian":true},"error":null}` + "\n")
)

// memoryAnswer takes apart an answer to ExamineMemory as encoding/json writes it. Whatever
// has another form is none.
func memoryAnswer(line []byte) (id uint64, mem []byte, ok bool) {
	rest, ok1 := bytes.CutPrefix(line, memoryHead)
	number, rest, ok2 := bytes.Cut(rest, memoryBody)
	mem, ok3 := bytes.CutSuffix(rest, memoryTail)
	if !ok1 || !ok2 || !ok3 || len(number) > 20 || len(mem) == 0 {
		return 0, nil, false
	}
	id, err := strconv.ParseUint(string(number), 10, 64)
	return id, mem, err == nil
}
