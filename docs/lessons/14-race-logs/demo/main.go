// Program demo handles three requests at a time, which share a map that nothing
// protects: it races on purpose. It logs as its flags say.
package main

import (
	"bytes"
	"flag"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var (
	sessions = map[string]int{"ann": 1}
	cache    = sessions // the same map

	how    = flag.String("log", "shared", "the logger: none, shared by all, or one for each goroutine (own)")
	step   = flag.Duration("step", 10*time.Millisecond, "time between two accesses")
	beside = flag.Bool("beside", false, "log right before and behind each access, too")
)

func main() {
	flag.Parse()
	shared := logger(os.Stdout)
	bufs := make([]bytes.Buffer, 3)
	var wg sync.WaitGroup
	for i, r := range []struct {
		id  string
		do  func()
		far time.Duration // how many steps it is from the start to the access
	}{{"r1", login, 1}, {"r2", feed, 2}, {"r3", feed, 3}} {
		wg.Go(func() {
			log := shared
			switch *how {
			case "none":
				log = zap.NewNop()
			case "own":
				log = logger(&bufs[i])
			}
			handle(log, r.id, r.do, r.far**step)
		})
	}
	wg.Wait()
	for i := range bufs {
		os.Stdout.Write(bufs[i].Bytes())
	}
}

func logger(w interface{ Write([]byte) (int, error) }) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.EpochNanosTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.Lock(zapcore.AddSync(w)), zap.DebugLevel), zap.AddCaller())
}

func handle(log *zap.Logger, id string, do func(), far time.Duration) {
	// The goroutine is asked for here, in the goroutine that handles the request.
	log = log.With(zap.String("request", id), zap.Int64("goroutine", goroutine()))
	log.Info("begin")
	time.Sleep(far)
	if *beside {
		log.Debug("before the access")
	}
	do()
	if *beside {
		log.Debug("behind the access")
	}
	time.Sleep(5 * *step)
	log.Info("end")
}

func login() { sessions["ann"]++ }

func feed() { _ = cache["ann"] }

// goroutine returns the number by which the runtime knows this goroutine. There is
// no function for it, but the first line of a stack trace: "goroutine 7 [running]:".
func goroutine() int64 {
	buf := make([]byte, 64)
	fields := bytes.Fields(buf[:runtime.Stack(buf, false)])
	n, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
