package mutex_test

import (
	"testing"

	"hmaptools/docs/lessons/10-safe-sharing/maptest"
	"hmaptools/docs/lessons/10-safe-sharing/mutex"
)

func TestMap(t *testing.T) {
	if err := maptest.Check(func() maptest.Map[string, int] { return new(mutex.Map[string, int]) }); err != nil {
		t.Error(err)
	}
}
