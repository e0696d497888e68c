package webhook

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// A journal is the file of a hook's queue: lines that are appended, and removed
// from its front once they are of no more use. A line is a checksum, a kind, the
// number of an event, and JSON:
//
//	1a2b3c4d e 7 {"type":"channel.occupied","seq":7,…}
//
// What was written before a kill is complete up to some line, and the rest is cut
// off. The file is open only while it is used: a thousand receivers that hang
// need no descriptors. Its methods must not be called concurrently.
type journal struct {
	path    string
	end     int64 // the length of the valid lines
	changed bool  // since it was opened
}

// Kinds of lines.
const (
	eventLine   = 'e' // an event
	droppedLine = 'd' // an event of the type Dropped
	stateLine   = 's' // the queue's state; the last one counts
)

// A line without its checksum. Data is valid until the next line is read.
type line struct {
	kind byte
	seq  uint64 // of the event, or 0
	data []byte
	next int64 // the offset after it
}

// count returns how many events an event stands for: 1, unless it is of the type
// Dropped.
func (l *line) count() uint64 {
	if l.kind != droppedLine {
		return 1
	}
	var e struct {
		Count uint64 `json:"count"`
	}
	_ = json.Unmarshal(l.data, &e) // it is what encode made: the checksum was right
	return e.Count
}

const lineHeader = 8 + 1 // checksum, space

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends a line to lines.
func appendLine(lines []byte, kind byte, seq uint64, data []byte) []byte {
	start := len(lines)
	lines = append(lines, "00000000 "...)
	lines = append(strconv.AppendUint(append(lines, kind, ' '), seq, 10), ' ')
	lines = append(append(lines, data...), '\n')
	putChecksum(lines[start:], lines[start+lineHeader:])
	return lines
}

// putChecksum writes the checksum of what follows the header of a line.
func putChecksum(to, rest []byte) {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(rest, castagnoli))
	hex.Encode(to, sum[:])
}

// parseLine reads a line with its checksum and its line feed.
func parseLine(text []byte) (l line, ok bool) {
	const shortest = lineHeader + len("e 1 \n")
	if len(text) < shortest {
		return line{}, false
	}
	want := []byte("00000000 ")
	rest := text[lineHeader:]
	putChecksum(want, rest)
	seq, data, found := bytes.Cut(rest[2:len(rest)-1], []byte(" "))
	number, err := strconv.ParseUint(string(seq), 10, 64)
	return line{kind: rest[0], seq: number, data: data}, bytes.HasPrefix(text, want) && found && err == nil
}

// write appends lines to the file. After an error the file is as before.
func (j *journal) write(lines []byte) (err error) {
	j.changed = true
	file, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.WriteAt(lines, j.end); err != nil {
		// A full disk: the space is needed, and the next line is written here.
		return errors.Join(err, file.Truncate(j.end))
	}
	j.end += int64(len(lines))
	return nil
}

// errDamaged is the end of what can be read of a file.
var errDamaged = errors.New("the file is damaged")

// read calls do for the lines between two offsets, until it returns false. The
// error wraps errDamaged at a line that is not as it was written.
func (j *journal) read(from, to int64, do func(line) bool) error {
	if from >= to {
		return nil
	}
	file, err := os.Open(j.path)
	if err != nil {
		return err
	}
	defer file.Close()
	const buffer = 16 << 10
	lines := bufio.NewReaderSize(io.NewSectionReader(file, from, to-from), buffer)
	for from < to {
		text, err := readLine(lines)
		if err != nil {
			return fmt.Errorf("%s at byte %d: %w", j.path, from, err)
		}
		l, ok := parseLine(text)
		if !ok {
			return fmt.Errorf("%s at byte %d: %w", j.path, from, errDamaged)
		}
		from += int64(len(text))
		l.next = from
		if !do(l) {
			return nil
		}
	}
	return nil
}

// readLine returns a line with its checksum and its line feed.
func readLine(from *bufio.Reader) ([]byte, error) {
	text, err := from.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		var rest []byte
		text = bytes.Clone(text)
		rest, err = from.ReadBytes('\n')
		text = append(text, rest...)
	}
	if errors.Is(err, io.EOF) {
		return nil, errDamaged
	}
	return text, err
}

// open reads the whole file and cuts off what is damaged. It calls do for each
// line. A file that does not exist is empty.
func (j *journal) open(do func(line) bool) (damaged bool, err error) {
	info, err := os.Stat(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = j.read(0, info.Size(), func(l line) bool {
		if !do(l) {
			return false
		}
		j.end = l.next
		return true
	})
	if err != nil && !errors.Is(err, errDamaged) {
		return false, err
	}
	if j.end < info.Size() {
		return true, os.Truncate(j.path, j.end)
	}
	return false, nil
}

// A span is a part of a journal, from one offset to another.
type span struct{ from, to int64 }

func (s span) size() int64 { return s.to - s.from }

// compact reduces the file to two of its parts and more lines after them.
func (j *journal) compact(first, second span, lines []byte) (err error) {
	old, err := os.Open(j.path)
	if err != nil {
		return err
	}
	defer old.Close()
	path := j.path + unfinished
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, io.MultiReader(
		io.NewSectionReader(old, first.from, first.size()),
		io.NewSectionReader(old, second.from, second.size()),
		bytes.NewReader(lines)))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(path, j.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	j.end = first.size() + second.size() + int64(len(lines))
	return nil
}

// sync waits until the file is on disk.
func (j *journal) sync() error {
	if !j.changed {
		return nil
	}
	file, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// remove deletes the file.
func (j *journal) remove() error {
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	j.end = 0
	return nil
}
