package realtime

// defaultMaxConnections leaves a tenth of the process's file descriptors to
// Caddy's other sites, its admin endpoint and the store. It is 0, no limit,
// where the system sets none that could be met.
func defaultMaxConnections() int {
	limit := descriptorLimit() / 10 * 9
	if limit > maxCount {
		return 0
	}
	return int(limit)
}
