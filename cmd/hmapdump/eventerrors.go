package main

import (
	"errors"

	"hmaptools/internal/event"
	"hmaptools/internal/probe"
)

// eventStep says what to try after an error of trace, record or show.
func eventStep(err error) string {
	var (
		not       *probe.NotSupportedError
		already   *probe.AlreadyError
		proc      *probe.ProcessError
		recording *recordingError
		noFile    *event.NotRecordingError
		damaged   *event.DamagedError
		truncated *event.TruncatedError
		missing   *event.MissingError
		none      *noEventsError
	)
	switch {
	case errors.As(err, &none) && none.maps > 0:
		return "Try without --type and --map."
	case errors.As(err, &none):
		return "Try other --ops, and without --type and --map."
	case errors.As(err, &not):
		return "Try hmapdump trace --engine delve, which stops the program at each event."
	case errors.As(err, &already):
		return "End the other recording first; its probes are taken out when it ends."
	case errors.As(err, &recording):
		return "The program was not disturbed. Hmapdump show reads the file as far as it goes."
	case errors.As(err, &noFile):
		return "Recordings are made by hmapdump record -o FILE."
	case errors.As(err, &damaged), errors.As(err, &truncated):
		return "What is before the damage could be read with hmapdump show, had the file its beginning."
	case errors.As(err, &missing):
		return "Hmapdump knows Go 1.18 to 1.27."
	case errors.As(err, &proc):
		return "It needs permission to trace the process: the same user or root, and kernel.yama.ptrace_scope 0 or 1."
	}
	return ""
}
