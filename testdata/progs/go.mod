// A module of its own, at go 1.18: toolchains before 1.25 refuse to build
// inside a module that asks for 1.25, and the target programs must build with
// every toolchain of the table in internal/testenv.
module hmaptools/testdata/progs

go 1.18
