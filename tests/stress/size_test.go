package stress

import (
	"os"
	"strconv"
)

// sized is how much a test does: little in `make test`, much in `make stress`,
// which sets STRESS.
func sized(little, much int) int {
	if os.Getenv("STRESS") != "" {
		return much
	}
	return little
}

// faultRounds is sized for tests that put in faults at random moments;
// FAULT_ROUNDS overrides both.
func faultRounds(little, much int) int {
	if n, err := strconv.Atoi(os.Getenv("FAULT_ROUNDS")); err == nil {
		return n
	}
	return sized(little, much)
}
