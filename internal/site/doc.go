// Package site is about what a Caddy site does around our handlers: it reads
// Caddy's servers, routes, requests and response writers. It finds out whether
// requests reach a handler, which host and client address a request has, and
// how to answer past handlers that interpret what is written.
package site
