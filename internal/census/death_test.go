package census_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hmaptools/internal/census"
	"hmaptools/internal/hmap"
	"hmaptools/internal/target"
	"hmaptools/internal/testenv"
)

// TestDeath: the core that the kernel writes of a program that died of concurrent map
// writes tells which map it was, as the program itself did before.
func TestDeath(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || strings.ContainsAny(string(pattern), "|/") {
		t.Skipf("the kernel does not write cores into the working directory: core_pattern %q", pattern)
	}
	for _, tc := range testenv.Toolchains(t) {
		for _, mode := range testenv.Modes() {
			if mode.Name == "race" {
				continue // the detector's memory makes a core of many gigabytes
			}
			t.Run(tc.Name+"/"+mode.Name, func(t *testing.T) {
				bin := testenv.Build(t, tc, "concurrent", mode.Flags...)
				dir := t.TempDir()
				cmd := exec.Command("sh", "-c", `ulimit -c unlimited && cd "$1" && GOTRACEBACK=crash exec "$2"`, "sh", dir, bin)
				var out strings.Builder
				cmd.Stderr = &out
				_ = cmd.Run() // it aborts
				cores, _ := filepath.Glob(filepath.Join(dir, "core*"))
				if !strings.Contains(out.String(), "fatal error: concurrent map writes") || len(cores) != 1 {
					t.Fatalf("cores %q; the program said:\n%.2000s", cores, out.String())
				}
				truth, err := testenv.ParseTruth([]byte(out.String()))
				if err != nil {
					t.Fatal(err)
				}
				tg, err := target.OpenCore(bin, cores[0])
				if err != nil {
					t.Fatal(err)
				}
				defer tg.Close()
				stop := tg.Stop()
				if stop.Reason != target.Core || stop.Message != "concurrent map writes" || stop.Func != "main.worker" {
					t.Errorf("stop %+v", stop)
				}
				src := source(t, tg)
				res := census.Take(src, census.Options{Depth: -1})
				stacks, err := tg.Stacks(50)
				if err != nil {
					t.Errorf("stacks: %v", err)
				}
				a := census.Examine(src, res, stop, stacks)
				if a == nil || a.Map == nil || len(a.Goroutines) == 0 {
					t.Fatalf("autopsy %+v", a)
				}
				want := hmap.Addr(0)
				for _, m := range truth.Maps {
					if m.Name == "main.shared" {
						want = hmap.Addr(m.Addr)
					}
				}
				if want == 0 || a.Map.Header.Addr != want {
					t.Errorf("it died of %s, held by %q; the program says %s", a.Map.Header.Addr, paths(a.Map), want)
				}
				if g := a.Goroutines[0]; g.ID != a.Fatal || g.Op != "assign" || g.Func != "main.worker" {
					t.Errorf("the goroutine that noticed it: %+v", g)
				}
			})
		}
	}
}
