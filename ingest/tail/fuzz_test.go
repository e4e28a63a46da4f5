package tail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"testing"
	"time"

	"custody/ingest"
)

// discard is a ledger at once durable.
type discard struct{}

func (discard) Submit(_ context.Context, b *ingest.Batch) error { b.Done(nil); return nil }

func FuzzSplit(f *testing.F) {
	f.Add([]byte("a\r\nb\n\x00c\nd"), false, 3)
	f.Add([]byte("1 a\n b\n2 c\n"), true, 1)
	start := regexp.MustCompile(`^[0-9]`)
	f.Fuzz(func(t *testing.T, b []byte, multi bool, limit int) {
		s := &splitter{maxLines: 1 + limit&7, maxBytes: 16 + limit&63}
		if multi {
			s.start = start
		}
		var back []byte
		for rest := b; len(rest) > 0; {
			adv, n := s.next(rest, all)
			if adv <= 0 || adv > len(rest) || n > adv {
				t.Fatalf("adv %d, n %d of %d", adv, n, len(rest))
			}
			if frame := string(rest[n:adv]); frame != "" && frame != "\n" && frame != "\r\n" {
				t.Fatalf("framing %q", frame)
			}
			if !multi && bytes.IndexByte(rest[:n], '\n') >= 0 {
				t.Fatal("newline within a line")
			}
			// Nothing that was complete is cut otherwise when more is known.
			if a, _ := s.next(rest, hold); a != 0 && a != adv {
				t.Fatalf("held %d, flushed %d", a, adv)
			}
			back = append(back, rest[:adv]...)
			rest = rest[adv:]
		}
		if !bytes.Equal(back, b) {
			t.Fatal("bytes lost")
		}
	})
}

// FuzzPump wants that the size of reads makes no difference to lines and digest.
func FuzzPump(f *testing.F) {
	f.Add([]byte("a\nb\r\n\x00\x00\nccccccccccccccccccccccccccccccccccc\nd"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		reg, err := NewRegistry(testKey, newLedger())
		if err != nil {
			t.Fatal(err)
		}
		l := newLane(reg, cursor{}, func() {})
		pl := newPool(16)
		pl.sizes = [3]int{64, 64, 64}
		p := &pump{
			split: &splitter{}, maxLine: 16, pool: pl, now: time.Now, from: origin,
			src: &streamSource{r: &slow{b, int(step%32) + 1}},
		}
		end := int64(0)
		for {
			fl, err := p.next(l, all)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range fl.lines {
				n := max(len(line.Raw), line.FullLength)
				if line.Offset < end || line.Offset+int64(n) > int64(len(b)) || len(line.Raw) > 16 ||
					!bytes.Equal(line.Raw, b[line.Offset:][:len(line.Raw)]) {
					t.Fatalf("line %+v after %d", line, end)
				}
				end = line.Offset + int64(n)
			}
			fl.recycle()
		}
		want := reg.keys.rolling()
		want.write(b)
		if l.off != int64(len(b)) || l.roll.state() != want.state() {
			t.Fatalf("stopped at %d of %d", l.off, len(b))
		}
	})
}

type slow struct {
	b []byte
	n int
}

func (s *slow) Read(b []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.n)], s.b)
	s.b = s.b[n:]
	return n, nil
}

func FuzzCursor(f *testing.F) {
	k, err := newKeys(testKey)
	if err != nil {
		f.Fatal(err)
	}
	c := cursor{kind: kindGzip, done: true, dev: 3, ino: 1 << 40, offset: 2000, startN: 1024, tailN: 64, path: "/var/log/x"}
	c.state = k.rolling().state()
	f.Add(c.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCursor(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.appendTo(nil), b) {
			t.Fatal("encodes to other bytes")
		}
		back, err := k.open("file/x", k.seal("file/x", c))
		if err != nil || *back != *c {
			t.Fatalf("sealed %+v, opened %+v: %v", c, back, err)
		}
		if _, err := k.open("file/y", k.seal("file/x", c)); !errors.Is(err, ErrCursor) {
			t.Fatal("opened under another key")
		}
	})
}
