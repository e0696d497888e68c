package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
)

// maxLine is the maximum length of a line, in bytes: that of a whole request with
// the default max_body.
const maxLine = 1 << 20

// A line is a line of a file. Its text has no spaces around it.
type line struct {
	number int // from 1
	text   []byte
	err    error // why there are no more lines; io.EOF at the end
}

// readLines sends the lines that are not empty, after the first skip ones, and
// last a line with an error. It holds no more than two lines in memory, and ends
// when ctx does.
func readLines(ctx context.Context, from io.Reader, skip int, to chan<- line) {
	r := bufio.NewReaderSize(from, 64<<10)
	if begin, _ := r.Peek(3); string(begin) == "\ufeff" { // Windows editors write it
		_, _ = r.Discard(3)
	}
	for number := 1; ; number++ {
		text, err := readLine(r, number <= skip)
		switch {
		case errors.Is(err, errLongLine):
			err = fmt.Errorf("the line has more than %s; send less, for example an id with which clients fetch the rest", humanize.IBytes(maxLine))
		case errors.Is(err, io.EOF) && number <= skip:
			err = fmt.Errorf("there are only %d lines, and --skip is %d", number-1, skip)
		}
		text = bytes.Trim(text, " \t\r")
		if err == nil && (len(text) == 0 || number <= skip) {
			continue
		}
		select {
		case to <- line{number, text, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

var errLongLine = errors.New("long line")

// readLine returns a line without its end, or io.EOF if there is none. A line to
// discard may have any length, and is not returned.
func readLine(r *bufio.Reader, discard bool) ([]byte, error) {
	var text []byte
	for begun := false; ; begun = true {
		part, err := r.ReadSlice('\n')
		if !discard {
			text = append(text, part...)
		}
		if len(bytes.TrimSuffix(text, []byte("\n"))) > maxLine {
			return nil, errLongLine
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(text, []byte("\n")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && (begun || len(part) > 0):
			return text, nil // without a newline at its end
		default:
			return nil, err
		}
	}
}
