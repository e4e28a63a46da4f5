package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	k := testKey(t)
	if err := SaveKey(path, k); err != nil {
		t.Fatal(err)
	}
	if err := SaveKey(path, testKey(t)); !errors.Is(err, os.ErrExist) {
		t.Errorf("saving over a key: %v", err)
	}
	got, err := LoadKey(path)
	if err != nil || got.VKey() != k.VKey() || got.Name() != testOrigin {
		t.Fatalf("loaded %+v: %v", got, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Errorf("%v left in the folder (%v)", list, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	// What one signs the other's verifier key accepts.
	signed, err := note.Sign(&note.Note{Text: Checkpoint{Origin: testOrigin}.Text()}, got)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyCheckpoint(signed, k.VKey()); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); !errors.Is(err, ErrKey) {
		t.Errorf("a key that others can read: %v", err)
	}
	for _, s := range []string{"", k.VKey(), k.skey[:len(k.skey)-4], strings.Replace(k.skey, testOrigin, "other", 1)} {
		if _, err := ParseKey(s); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, o := range []string{"", "a b", "a+b", "a\nb", "a\u00a0b", "\xff", strings.Repeat("a", 256)} {
		if _, err := GenerateKey(o); !errors.Is(err, ErrKey) {
			t.Errorf("origin %q: %v", o, err)
		}
	}
}

func TestCheckpointForms(t *testing.T) {
	k, second := testKey(t), testKey(t)
	sign := func(text string, by ...note.Signer) []byte {
		b, err := note.Sign(&note.Note{Text: text}, by...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := Checkpoint{Origin: testOrigin, Size: 7}.Text()
	both := sign(good, k, second)
	if _, err := VerifyCheckpoint(both, k.VKey(), second.VKey()); err != nil {
		t.Error(err)
	}
	if cp, err := ParseCheckpoint(both); err != nil || cp.Size != 7 {
		t.Errorf("parsed %+v: %v", cp, err)
	}
	for name, b := range map[string][]byte{
		"extension":    sign(good+"more\n", k),
		"leading zero": sign(strings.Replace(good, "\n7\n", "\n07\n", 1), k),
		"negative":     sign(strings.Replace(good, "\n7\n", "\n-7\n", 1), k),
		"too large":    sign(strings.Replace(good, "\n7\n", "\n9223372036854775808\n", 1), k),
		"short root":   sign(testOrigin+"\n7\nAAAA\n", k),
		"other origin": sign(strings.Replace(good, testOrigin, "other.example.com", 1), k),
		"not signed":   []byte(good),
		"other key":    sign(good, second),
		"changed":      bytes.Replace(sign(good, k), []byte("\n7\n"), []byte("\n8\n"), 1),
	} {
		if _, err := VerifyCheckpoint(b, k.VKey()); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	k := testKey(f)
	b, err := signCheckpoint(Checkpoint{Origin: testOrigin, Size: 42}, []note.Signer{k})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCheckpoint(b)
		if err != nil {
			if c != (Checkpoint{}) {
				t.Error("a value beside the error")
			}
			return
		}
		if !bytes.HasPrefix(b, []byte(c.Text()+"\n")) {
			t.Errorf("%q is written as %q", b, c.Text())
		}
	})
}

func FuzzParseProof(f *testing.F) {
	signed, err := signCheckpoint(Checkpoint{Origin: testOrigin, Size: 42}, []note.Signer{testKey(f)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add((&Proof{Index: 3, Checkpoint: signed}).Encode())
	f.Add((&Proof{Extra: []byte("x"), Index: 3, Hashes: make([]tlog.Hash, 2), Checkpoint: signed}).Encode())
	f.Add((&Proof{Extra: []byte{}, Checkpoint: signed}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err == nil && !bytes.Equal(p.Encode(), b) {
			t.Errorf("%q is written as %q", b, p.Encode())
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add(entryOf(f, typical(), testSeed(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEntry(b)
		if err == nil && !bytes.Equal(e.append(nil), b) {
			t.Errorf("%x is written as %x", b, e.append(nil))
		}
	})
}

func FuzzParseResidue(f *testing.F) {
	var c Committer
	for _, raw := range []string{"", "x", strings.Repeat("y", 200)} {
		r, seed := typical(), testSeed(3)
		r.Raw = []byte(raw)
		d, err := c.NewResidue(r, &seed)
		if err == nil {
			err = d.Withhold(&c, r, Unit{2 + 5, WholeSlot}, Unit{14, 0})
		}
		if err != nil {
			f.Fatal(err)
		}
		d.KeepAbsence(r)
		b, _ := d.AppendBinary(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseResidue(b)
		if err != nil {
			return
		}
		if again, _ := d.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
		var c Committer
		var e Entry
		_ = c.CommitPartial(typical(), d, &e) // must not panic
	})
}

func FuzzParseDisclosure(f *testing.F) {
	var c Committer
	r, seed := typical(), testSeed(3)
	d, err := c.NewResidue(r, &seed)
	if err != nil {
		f.Fatal(err)
	}
	p, err := c.Disclose(r, d, Unit{24, WholeSlot}, Unit{14, 0}, Unit{0, WholeSlot}, Unit{96, WholeSlot})
	if err != nil {
		f.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":"custody/disclosure/v1","entry":"","groups":null,"slots":[{"group":-1,"digests":[]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _, err := ParseDisclosure(b)
		if err != nil {
			return
		}
		again, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := ParseDisclosure(again); err != nil {
			t.Errorf("%s is not read back: %v", again, err)
		}
	})
}

func FuzzTilePath(f *testing.F) {
	f.Add("tile/entries/x001/x234/067.p/8")
	f.Add("tile/1/000")
	f.Fuzz(func(t *testing.T, s string) {
		level, n, width, err := parseTilePath(s)
		if err == nil && tilePath(level, n, width) != s {
			t.Errorf("%q is written as %q", s, tilePath(level, n, width))
		}
	})
}
