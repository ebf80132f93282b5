// Hmapdump shows what the maps of a Go program really are.
//
// Usage:
//
//	hmapdump [flags] PROG [-- ARGS]     run PROG; list its maps where it stops
//	hmapdump [flags] attach PID         list the maps of a running process, which goes on running
//	hmapdump [flags] core PROG CORE     list the maps in a core dump of PROG
//	hmapdump [flags] connect HOST:PORT  list the maps of what a headless Delve server debugs
//	hmapdump diff [flags] OLD NEW       compare two dumps made with --json, two core dumps or two
//	                                    recordings
//	hmapdump record [flags] [-o FILE] PROG [-- ARGS]   record every map operation; without -o, summarise
//	hmapdump record [flags] [-o FILE] -p PID           the same of a running process
//	hmapdump trace [flags] PROG [-- ARGS]              print events as they happen; or trace -p PID
//	hmapdump show [flags] FILE                         analyse a recording; export it
//
// PROG is a binary with debug information, or a Go package or .go file, which is
// built first as "dlv debug" does. It runs until main.main is about to return,
// until os.Exit, or until a fatal error or an unrecovered panic, whichever comes
// first; or until --at. Then every map is listed that a package variable, or a
// local or argument of any frame of any goroutine leads to: its length, the slots
// it has room for, its load, its memory as the allocator rounds it, what of that
// is wasted against a fresh map of the same entries, and all names that hold its
// header, since "a = b" shares it. Core dumps may come from the kernel, gcore or
// "dlv dump".
//
//	$ hmapdump ./prog                        # the table
//	$ hmapdump -e 'srv.sessions' ./prog      # one map in full
//	$ hmapdump -e m --slots --at main.fill --hit 100 ./prog
//	$ hmapdump --check --json attach 4711
//
// Where a single map is selected, by -e or by a filter, its picture is drawn:
// every field of the header with its meaning, load, growth or evacuation, tables
// or buckets; with --slots also each group or bucket with its control bytes or
// tophashes, keys and elems.
//
// Connect lists the maps of a program that somebody debugs, through "dlv exec --headless
// --accept-multiclient", "dlv attach --headless" and so on, while the debugger stays where
// it is: its breakpoints, the selected goroutine, where -e is evaluated, and whether the
// program runs, are left as they were. The binary must be on this machine, at the path
// that the server knows or at --prog's. The program must be of linux/amd64.
//
//	$ hmapdump --shared connect localhost:4040
//
// Diff matches the maps of two dumps by the paths of their holders, then by
// address, and tells which grew, shrank, came and went:
//
//	$ hmapdump --json -o before.json attach 4711
//	$ hmapdump --json -o after.json attach 4711
//	$ hmapdump diff --fail-on 'bytes>10%' before.json after.json
//	$ hmapdump diff --prog ./prog core.1 core.2
//	$ hmapdump diff before.hmaprec after.hmaprec
//
// Record and trace take events while the program runs: by inline probes, which do
// not stop it, on linux/amd64, else at breakpoints (trace alone). --ops, --map and
// --type say which, --limit and --for how many and how long:
//
//	$ hmapdump record -o r.hmaprec ./prog    # the file that show reads
//	$ hmapdump record --for 10s -p 4711      # summarise ten seconds of a process
//	$ hmapdump record --map main.cache ./prog   # of the map that a package variable holds
//	$ hmapdump trace --json ./prog           # growth, a line of JSON for each event
//	$ hmapdump show --perfetto t.json --parquet r.parquet r.hmaprec
//
// Ctrl-C goes to a program that was started, and its end ends the recording; a second
// one ends the recording alone. Of a process that was attached to, the first one takes
// the probes out.
//
// The maps are listed on standard output; everything else that hmapdump has to
// say goes to standard error. The target's own standard input, output and error
// are untouched. Ctrl-C stops the target and lists its maps; a second one ends
// it. A process that was attached to goes on, whatever happens to hmapdump: on
// linux/amd64 its maps are those of a copy, for which it stands still about as long
// as a fork of it takes. Where there can be no copy, or with --no-snapshot, it stands
// still until everything has been read, and standard error says so.
//
// Exit status: 0 fine; 1 failed, or nothing matched; 2 wrong usage; 3 a finding:
// with --check a broken invariant or unreadable memory, or the target died of a
// concurrent map access, or diff --fail-on is met. The target's own exit status is reported, not adopted.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
