package limit

import "time"

// Allow is Group.Allow for one window, at a time that the test chooses.
func (r *Rolling) Allow(now time.Time, limit int, window time.Duration) Result {
	return r.AllowN(now, 1, limit, window)
}

// AllowN is Group.AllowN for one window, at a time that the test chooses.
func (r *Rolling) AllowN(now time.Time, n, limit int, window time.Duration) Result {
	if limit <= 0 || window <= 0 {
		return Result{OK: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allow(now, n, limit, window)
}
