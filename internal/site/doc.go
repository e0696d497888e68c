// Package site deals with the Caddy site around our handlers: it examines Caddy's
// servers, routes, requests and response writers. It determines whether requests
// reach a handler, a request's host and client address, and how to bypass handlers
// that interpret responses.
package site
