package target

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"unicode/utf8"
)

// binaryInfo is what can be said of a binary without reading its DWARF.
type binaryInfo struct {
	goVersion string // "go1.26.8", "go1.24.13 X:noswissmap"; "" when unknown
}

// checkBinary looks at path, which is shown as name, and fails with a typed error if it cannot be a
// target: not ELF, not Go, no DWARF. It costs well under a millisecond.
func checkBinary(path, name string) (binaryInfo, error) {
	var bi binaryInfo
	f, err := os.Open(path)
	if err != nil {
		return bi, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return bi, err
	}
	if fi.IsDir() {
		return bi, &NotELFError{name, "a directory"}
	}
	if runtime.GOOS == "linux" {
		if err := checkELF(f, name); err != nil {
			return bi, err
		}
	}
	if info, err := buildinfo.Read(f); err == nil {
		bi.goVersion = info.GoVersion
	}
	return bi, nil
}

func checkELF(f io.ReaderAt, name string) error {
	ef, err := elf.NewFile(f)
	if err != nil {
		return &NotELFError{name, kindOfFile(f)}
	}
	defer ef.Close()
	switch {
	case ef.Type == elf.ET_CORE:
		return &NotELFError{name, "a core dump"}
	case ef.Type != elf.ET_EXEC && ef.Type != elf.ET_DYN:
		return &NotELFError{name, fmt.Sprintf("an ELF file of type %v", ef.Type)}
	}
	has := func(names ...string) bool {
		for _, n := range names {
			if ef.Section(n) != nil {
				return true
			}
		}
		return false
	}
	// .gopclntab is .data.rel.ro.gopclntab in position independent binaries.
	if !has(".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo", ".note.go.buildid") {
		return &NotGoError{name}
	}
	if !has(".debug_info", ".zdebug_info") {
		missing := []string{".debug_info"}
		if !has(".symtab") {
			missing = append(missing, ".symtab")
		}
		return &NoDWARFError{name, missing}
	}
	return nil
}

// kindOfFile names a file that is not ELF by its first bytes.
func kindOfFile(f io.ReaderAt) string {
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "unreadable: " + err.Error()
	}
	head = head[:n]
	is := func(magic ...string) bool {
		for _, m := range magic {
			if bytes.HasPrefix(head, []byte(m)) {
				return true
			}
		}
		return false
	}
	switch {
	case n == 0:
		return "an empty file"
	case is("\x7fELF"):
		return "a damaged ELF file"
	case is("\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe", "\xfe\xed\xfa\xcf", "\xfe\xed\xfa\xce", "\xca\xfe\xba\xbe"):
		return "a Mach-O binary (of macOS)"
	case is("MZ"):
		return "a PE binary (of Windows)"
	case is("#!"):
		return "a script"
	case is("\x00asm"):
		return "a WebAssembly module"
	case is("!<arch>"):
		return "an archive"
	case utf8.Valid(head[:n-min(n, 3)]) && !bytes.Contains(head, []byte{0}):
		return "a text file"
	}
	return "an unknown kind of file"
}

// absPath makes a path of a binary absolute. Delve looks a bare name up in PATH;
// we do as the shell's user means: a file of that name here comes first.
func absPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return "", err
	}
	return abs, nil
}
