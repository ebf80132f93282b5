// Program 07-race-storm is a server that keeps its users in a map and believes
// that cache = userMap gives it a second one. It puts itself under load, for a
// bounded time, on the loopback interface.
//
// It races on purpose, except with -mode locked.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"sync"
	"time"
)

var (
	userMap = map[string]int{} // logins write it
	cache   = userMap          // feeds read it: the same header under a second name

	names [1000]string
	mu    sync.RWMutex
	mode  = flag.String("mode", "storm", "storm, writers, locked or apart")
)

func main() {
	limit := flag.Duration("for", 10*time.Second, "put it under load for this long")
	requests := flag.Int("requests", 2000, "at most so many `requests` from each of 8 clients")
	profile := flag.String("profile", "", "write a CPU profile of the load to this `file`")
	flag.Parse()
	for i := range names {
		names[i] = fmt.Sprint("user", i)
		userMap[names[i]] = i
	}
	if *mode == "apart" {
		apart()
		return
	}
	http.HandleFunc("/feed", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, feed()) })
	http.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) { login() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, nil)
	url := "http://" + l.Addr().String()

	deadline := time.Now().Add(*limit)
	var wg sync.WaitGroup
	if *profile != "" {
		wg.Go(func() {
			save(*profile, fetch(fmt.Sprintf("%s/debug/pprof/profile?seconds=%.0f", url, limit.Seconds())))
		})
	}
	for i := range 8 {
		path := "/login"
		if i%2 == 0 && *mode != "writers" {
			path = "/feed"
		}
		wg.Go(func() {
			for n := 0; n < *requests && time.Now().Before(deadline); n++ {
				fetch(url + path)
			}
		})
	}
	wg.Wait()
	fmt.Println("it survived;", len(cache), "users")
}

// apart reads the map, and writes it a while later. Nothing orders the two, and
// they are never in the map at the same time.
func apart() {
	var wg sync.WaitGroup
	wg.Go(func() { fmt.Println("user17 is", cache["user17"]) })
	wg.Go(func() {
		time.Sleep(20 * time.Millisecond)
		userMap["user17"]++
	})
	wg.Wait()
	fmt.Println("it survived")
}

// feed looks everybody up, through cache.
func feed() (sum int) {
	for _, user := range names {
		if *mode == "locked" {
			mu.RLock()
		}
		sum += cache[user]
		if *mode == "locked" {
			mu.RUnlock()
		}
	}
	return sum
}

// login counts somebody's logins, through userMap.
func login() {
	for _, user := range names {
		if *mode == "locked" {
			mu.Lock()
		}
		userMap[user]++
		if *mode == "locked" {
			mu.Unlock()
		}
	}
}

func fetch(url string) []byte {
	r, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		log.Fatal(err)
	}
	return body
}

func save(file string, data []byte) {
	if err := os.WriteFile(file, data, 0o666); err != nil {
		log.Fatal(err)
	}
}
