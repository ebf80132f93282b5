package truth

import "unsafe"

// The canonical text of keys and elems. It holds no space, so that a line can
// be split at spaces.

type signed interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64
}

type unsigned interface {
	~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

// Int is a signed integer in decimal.
func Int[T signed](v T) string { return itoa(int64(v)) }

// Uint is an unsigned integer in decimal.
func Uint[T unsigned](v T) string { return utoa(uint64(v)) }

// Bool is true or false.
func Bool[T ~bool](v T) string {
	if v {
		return "true"
	}
	return "false"
}

// Float32 is the IEEE 754 bits: f0x and 8 digits. Bits tell -0 from 0 and one
// NaN from another, and need no strconv.
func Float32[T ~float32](v T) string {
	return "f0x" + digits(uint64(*(*uint32)(unsafe.Pointer(&v))), 8)
}

// Float64 is f0x and 16 digits.
func Float64[T ~float64](v T) string {
	return "f0x" + digits(*(*uint64)(unsafe.Pointer(&v)), 16)
}

// Complex64 is (real,imaginary).
func Complex64(v complex64) string {
	return "(" + Float32(real(v)) + "," + Float32(imag(v)) + ")"
}

// Complex128 is (real,imaginary).
func Complex128(v complex128) string {
	return "(" + Float64(real(v)) + "," + Float64(imag(v)) + ")"
}

// Str is a quoted string that strconv.Unquote accepts: every byte that is not a
// visible ASCII character is \xNN.
func Str[T ~string](v T) string {
	buf := make([]byte, 0, len(v)+2)
	buf = append(buf, '"')
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"' || c == '\\':
			buf = append(buf, '\\', c)
		case c <= ' ' || c > '~':
			buf = append(buf, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			buf = append(buf, c)
		}
	}
	return string(append(buf, '"'))
}

// Word is the first word of v in hex: the address behind a pointer, chan, func,
// map or unsafe.Pointer.
func Word[T any](v T) string {
	return hex(uint64(*(*uintptr)(unsafe.Pointer(&v))))
}

// Slice is slice(ADDR,LEN,CAP).
func Slice[T any](v []T) string {
	return "slice(" + Word(v) + "," + itoa(int64(len(v))) + "," + itoa(int64(cap(v))) + ")"
}

// Empty is the text of a type without content: {} .
func Empty[T any](T) string { return "{}" }

// What a key or elem adds to a checksum.

// SumInt adds the value itself, sign-extended to 64 bits.
func SumInt[T signed](v T) uint64 { return uint64(int64(v)) }

// SumUint adds the value itself.
func SumUint[T unsigned](v T) uint64 { return uint64(v) }

// SumStr adds the 64-bit FNV-1a hash of the bytes.
func SumStr[T ~string](v T) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(v); i++ {
		h = (h ^ uint64(v[i])) * 1099511628211
	}
	return h
}

// SumWord adds the first word of v, an address.
func SumWord[T any](v T) uint64 { return uint64(*(*uintptr)(unsafe.Pointer(&v))) }

// Key returns the string k and n in decimal, the usual string key of a target.
func Key(n int) string { return "k" + itoa(int64(n)) }

// Atoi reads a decimal argument; anything else is def.
func Atoi(s string, def int) int {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return def
		}
		n = n*10 + int(s[i]-'0')
	}
	if s == "" {
		return def
	}
	return n
}

const hexDigits = "0123456789abcdef"

func digits(v uint64, n int) string {
	buf := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		buf[i] = hexDigits[v&15]
		v >>= 4
	}
	return string(buf)
}

func hex(v uint64) string {
	n := 1
	for r := v >> 4; r != 0; r >>= 4 {
		n++
	}
	return "0x" + digits(v, n)
}

func utoa(v uint64) string {
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return string(buf[i:])
		}
	}
}

func itoa(v int64) string {
	if v < 0 {
		return "-" + utoa(-uint64(v))
	}
	return utoa(uint64(v))
}
