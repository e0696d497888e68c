// Package message has what a publish is: its fields, the rules of their names,
// and how it is read.
package message
