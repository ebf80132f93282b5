package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
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

// askedBefore reports whether the same packages were asked for from here before, and
// remembers that they were.
func (c *config) askedBefore(t *target) bool {
	dir, err := os.UserCacheDir()
	if err != nil {
		return false
	}
	wd, err := os.Getwd()
	if err != nil {
		return false
	}
	h := sha256.Sum256(fmt.Appendf(nil, "asked %q %q %q %q %q %v", wd, c.operands, t.goarch, t.toolchain, c.gcflags, c.race))
	file := filepath.Join(dir, "asmtrace", fmt.Sprintf("%x", h[:16]))
	now := time.Now()
	if os.Chtimes(file, now, now) == nil {
		return true
	}
	keep(file, nil)
	return false
}

// addSource adds what is known of the packages, from the cache where it is there.
func addSource(ctx context.Context, tr *trace, c *config, b *build) error {
	for i := range b.packages {
		p := &b.packages[i]
		file := factsFile(tr.target, p)
		if file != "" {
			if data, err := os.ReadFile(file); err == nil && tr.source.Load(bytes.NewReader(data)) == nil {
				now := time.Now()
				os.Chtimes(file, now, now) // it is used
				continue
			}
		}
		if b.deps == nil {
			if err := b.dependencies(ctx, tr.target, c); err != nil {
				return err
			}
		}
		facts := asmnote.NewSource(tr.target.note())
		err := facts.AddPackage(p.Package, func(path string) (asmnote.Dependency, bool) { d, ok := b.deps[path]; return d, ok })
		if err != nil {
			tr.notices = append(tr.notices, err.Error())
		}
		var kept bytes.Buffer
		if err := facts.Save(&kept); err != nil {
			return err
		}
		if file != "" && err == nil {
			keep(file, kept.Bytes())
		}
		if err := tr.source.Load(&kept); err != nil {
			return err
		}
	}
	return nil
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
