package probe

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hmaptools/internal/testenv"
)

// TestInterrupted: of a thread that is in a signal handler it is known where it will go
// on. The handler is found by the names of functions, where it goes on by what the kernel
// has put on the stack.
func TestInterrupted(t *testing.T) {
	bin := testenv.Build(t, testenv.Host(), "opcount")
	im, err := openImage(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer im.close()
	cmd := exec.Command(bin, "-g", "8", "-n", "100000000", "-gc")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	text := im.section(".text")
	all := []span{{text.Addr - 1, text.Addr + text.Size}}
	handling, found := 0, 0
	for start := time.Now(); handling < 8 && time.Since(start) < 30*time.Second; {
		err := onThread(func() error {
			// What the runtime preempts goroutines with.
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", cmd.Process.Pid))
			for _, task := range tasks {
				tid, _ := strconv.Atoi(filepath.Base(task))
				_ = unix.Tgkill(cmd.Process.Pid, tid, unix.SIGURG)
			}
			st, err := stopAll(cmd.Process.Pid)
			if err != nil {
				return err
			}
			defer st.release()
			for _, th := range st.threads {
				_, _, fn := im.lines.PCToLine(th.regs.Rip)
				if fn == nil || !strings.HasPrefix(fn.Name, "runtime.sig") {
					continue
				}
				handling++
				if at, inside := st.interrupted(th, all); inside {
					if _, _, fn := im.lines.PCToLine(at); fn != nil {
						found++
					}
				}
				if at, inside := st.interrupted(th, []span{{text.Addr - 100, text.Addr - 1}}); inside {
					t.Errorf("thread %d goes on at %#x, where there is nothing", th.tid, at)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	t.Logf("%d threads in a handler", handling)
	// Some may be interrupted in the vDSO.
	if handling == 0 || found < handling*3/4 {
		t.Errorf("%d threads were in a handler, of %d it was found where they go on", handling, found)
	}
}
