package keystore

// Len returns how many apps the registry has.
func (r *Registry) Len() int {
	apps, _ := r.Apps("", 1_000_000)
	return len(apps)
}
