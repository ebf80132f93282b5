package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"hmaptools/internal/asmnote"
)

// What type-checking says of a package is kept in the user's cache directory, under
// a hash of all that it depends on: the files, the compiled package, which stands
// for what it imports, the target, and this program. A package that has changed has
// another hash. What cannot be read or written is checked again.

// unused is how long a file of the cache stays that nobody asks for.
const unused = 7 * 24 * time.Hour

// factsFile returns where the facts of a package are kept, "" if they cannot be.
func factsFile(t *target, p *asmnote.Dependency) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(exe)
	if err != nil {
		return ""
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %d\n%q %q %q %q %q\n", exe, info.Size(), info.ModTime().UnixNano(), t.arch, t.version, p.ImportPath, p.Dir, p.Export)
	for _, name := range p.Files {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return ""
		}
		fmt.Fprintf(h, "%q %d\n", name, len(src))
		h.Write(src)
	}
	return filepath.Join(dir, "asmtrace", fmt.Sprintf("%x", h.Sum(nil)[:16]))
}

// addSource adds what is known of the packages, from the cache where it is there. What
// has to be type-checked is, on all cores if there are several packages.
func (tr *trace) addSource(ctx context.Context, c *config, b *build) {
	deps := func(path string) (asmnote.Dependency, bool) { d, ok := b.deps[path]; return d, ok }
	known := make([]*asmnote.Source, len(b.packages))
	problems := make([]error, len(b.packages))
	var wg sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range b.packages {
		turn <- struct{}{}
		wg.Go(func() {
			known[i], problems[i] = facts(ctx, tr.target, c, b.packages[i], deps)
			<-turn
		})
	}
	wg.Wait()
	for i, s := range known {
		tr.source.Merge(s)
		if problems[i] != nil {
			tr.notices = append(tr.notices, problems[i].Error())
		}
	}
}

// facts returns what is known of a package.
func facts(ctx context.Context, t *target, c *config, p asmnote.Dependency, deps func(string) (asmnote.Dependency, bool)) (*asmnote.Source, error) {
	s := asmnote.NewSource(t.note())
	file := factsFile(t, &p)
	if file != "" {
		if data, err := os.ReadFile(file); err == nil && s.Load(bytes.NewReader(data)) == nil {
			now := time.Now()
			os.Chtimes(file, now, now) // it is used
			return s, nil
		}
	}
	var err error
	if p.Cgo {
		if p.Package, err = throughCgo(ctx, t, c, p.Package); err != nil {
			return s, err
		}
	}
	err = s.AddPackage(p.Package, deps)
	if file != "" && err == nil {
		var data bytes.Buffer
		if s.Save(&data) == nil {
			keep(file, data.Bytes())
		}
	}
	return s, err
}

// keep writes a file of the cache, and removes those that nobody asked for lately.
func keep(file string, data []byte) {
	dir := filepath.Dir(file)
	if os.MkdirAll(dir, 0o777) != nil {
		return
	}
	tmp, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if closeErr := tmp.Close(); err != nil || closeErr != nil || os.Rename(tmp.Name(), file) != nil {
		os.Remove(tmp.Name())
		return
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > unused {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
