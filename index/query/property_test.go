package query

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"custody/ingest/record"
)

// keysOf collects what the index holds for a record.
type keysOf struct{ terms, idents map[string]bool }

func indexed(r *record.Record) keysOf {
	k := keysOf{map[string]bool{}, map[string]bool{}}
	var s Scratch
	IndexTerms(r, &s, func(key []byte) { k.terms[string(key)] = true }, func(key []byte) { k.idents[string(key)] = true })
	return k
}

// accepts evaluates a plan as an index would.
func (k keysOf) accepts(p Plan, at int64) bool {
	if p.From != 0 && at < p.From || p.To != 0 && at >= p.To {
		return false
	}
	switch p.Op {
	case All, Time:
		return true
	case Term:
		return k.terms[string(p.Key)]
	case Ident:
		return k.idents[string(p.Key)]
	case TermRange:
		for t := range k.terms {
			if len(t) >= len(p.Key) && t[:len(p.Key)] == string(p.Key) && (p.Match == nil || p.Match([]byte(t))) {
				return true
			}
		}
		return false
	case And:
		for _, kid := range p.Kids {
			if !k.accepts(kid, at) {
				return false
			}
		}
		return true
	case Or:
		for _, kid := range p.Kids {
			if k.accepts(kid, at) {
				return true
			}
		}
	}
	return false
}

// checkConsistent holds the promises that tie the ways to evaluate a query together.
func checkConsistent(t rapid.TB, q *Query, r row) {
	t.Helper()
	match := q.Match(r.eff, r.sealed)
	m := q.NewMatcher()
	for range 2 { // its scratch memory is used again
		if m.Match(r.eff, r.sealed) != match {
			t.Fatalf("%s: Matcher differs from Match", q)
		}
	}
	if match && !indexed(r.eff).accepts(q.Lower(), r.eff.Time) {
		t.Fatalf("%s matches but its plan does not find it: %+v\n%s", q, q.Lower(), r.eff.AppendJSON(nil))
	}
	if match && !q.Kinds().Has(r.eff.Kind) {
		t.Fatalf("%s matches a kind out of its scope", q)
	}
	// Fields are known in many combinations: by a mask over their numbers.
	for _, mask := range []record.Field{0, 1, 2, 3, 5, 7} {
		blocks := q.NewBlockMatcher()
		for range 2 { // its scratch memory is used again
			blocks.Begin(&oneRow{r: r.eff, mask: mask, texts: q.Texts()})
			tri := blocks.Row(0)
			if inScope := q.Kinds().Has(r.eff.Kind); inScope && (tri == True && !match || tri == False && match) {
				t.Fatalf("%s: a BlockMatcher says %d, Match %v", q, tri, match)
			}
			if err := blocks.Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, text := range q.Texts() {
		// What has the words only in its message has the message's keys.
		if msg := r.eff.MessageText(); text.Match(msg) && !indexed(r.eff).accepts(text.Message, 0) {
			t.Fatalf("%s: word search %d matches the message but its plan does not find it", q, i)
		}
	}
	again, err := ParseAt(q.String(), now)
	if err != nil {
		t.Fatalf("%s: its canonical form: %v", q, err)
	}
	if again.String() != q.String() || !reflect.DeepEqual(again.root, q.root) || again.kinds != q.kinds {
		t.Fatalf("%s parses to %s", q, again)
	}
}

// oneRow is a record as a block of one row, of which the fields outside the mask
// are not known.
type oneRow struct {
	r     *record.Record
	mask  record.Field
	texts []Text
}

func (o *oneRow) known(f record.Field) bool { return o.mask == 0 || f&o.mask != 0 }

func (o *oneRow) Values(f record.Field, yield func(code int, values []string)) (bool, error) {
	if !f.Settable() || f.Info().Cardinality != record.Keyword || !o.known(f) {
		return false, nil
	}
	yield(1, []string{"of another row"})
	if vals := o.r.Values(record.Path{Field: f}, nil); len(vals) > 0 {
		yield(2, vals)
	}
	return true, nil
}

func (o *oneRow) Code(f record.Field, _ int) int {
	if len(o.r.Values(record.Path{Field: f}, nil)) == 0 {
		return 0
	}
	return 2
}

func (o *oneRow) Scalar(f record.Field, _ int) (string, bool) {
	if !f.Settable() || f.IsList() || f.Info().Cardinality == record.Keyword || !o.known(f) {
		return "", false
	}
	return o.r.Get(f), true
}

func (o *oneRow) Kind(int) record.Kind { return o.r.Kind }

func (o *oneRow) Text(i, _ int) Tri {
	if o.mask != 0 {
		return Unknown
	}
	return tri(new(Matcher).textIn(o.texts[i].phrase, o.r))
}

// Pieces that random records and queries are made of: few, so that they meet.
var (
	pieces = []string{
		"alice", "Bob", "deploy", "kv", "read", "10.0.0.3", "req-5512", "secret/data/prod", "denied", "7", "403", "-2.50",
		"4bf92f3577b34da6a3ce929d0e0e4736", "deadbeefdeadbeef", "zoë", "ZOË", "Kelvin", "\u212aelvin", "İx", "ДОСТУП", "a\u0301b",
		"2026-11-23T14:02:07Z", "2001:db8::1", "true", "null", "x_y", "naïve", "\u0663\u0664", "long" + strings.Repeat("ab", 40),
		"ж" + strings.Repeat("жа", 20), "*", "?", "\\", "\"", "(", "end.", "", "AND", "or", "\xff", "\u00a0", strings.Repeat("v", 300),
	}
	seps = []string{" ", "-", "/", ".", ": ", "", "_", "\x00", "\xfe", "@", "é"}

	someFields = []record.Path{
		{Field: record.RequesterID},
		{Field: record.ActionTool},
		{Field: record.TargetID},
		{Field: record.Message},
		{Field: record.Findings},
		{Field: record.Attributes},
		{Field: record.SourcePeer},
		{Field: record.SourceAddress},
		{Field: record.OutcomeDetail},
		{Field: record.Time},
		{Field: record.Received},
		{Field: record.CredentialExpires},
		{Field: record.SourceOffset},
		{Field: record.ID},
		{Field: record.Raw},
		{Field: record.About},
		{Field: KindField},
		{Field: SeqField},
		{Field: record.Delegations},
		{Field: record.Delegations, Sub: "principal"},
		{Field: record.Delegations, Sub: "scopes"},
		{Field: record.Delegations, Sub: "expires"},
		{Field: record.Links, Sub: "to"},
		{Field: record.Links, Sub: "method"},
		{Field: record.Absence, Sub: "requester"},
		{Field: record.Absence},
		{Field: record.Provenance, Sub: "requester.id"},
	}
)

func genText(t *rapid.T, label string) string {
	var b strings.Builder
	for i := range rapid.IntRange(1, 4).Draw(t, label) {
		if i > 0 {
			b.WriteString(rapid.SampledFrom(seps).Draw(t, "sep"))
		}
		b.WriteString(rapid.SampledFrom(pieces).Draw(t, "piece"))
	}
	return b.String()
}

func genRecord(t *rapid.T) *record.Record {
	r := &record.Record{
		Kind: rapid.SampledFrom([]record.Kind{1, 1, 1, 1, 3, 9, 0, 15}).Draw(t, "kind"),
		Seq:  rapid.Uint64Range(0, 500).Draw(t, "seq"),
	}
	if rapid.Bool().Draw(t, "has time") {
		r.SetTime(now.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "minutes"))*time.Minute).UnixNano(), "")
		r.Received = r.Time + 1
	}
	if rapid.Bool().Draw(t, "has id") {
		r.ID = [16]byte{1, 2, 3, 15: byte(r.Seq)}
	}
	if rapid.Bool().Draw(t, "has raw") {
		r.Raw = []byte(genText(t, "raw"))
		if n := rapid.IntRange(0, 5).Draw(t, "offset"); n > 0 {
			r.Set(record.MessageOffset, strconv.Itoa(n), "")
		}
	}
	for range rapid.IntRange(0, 6).Draw(t, "values") {
		switch p := rapid.SampledFrom(someFields).Draw(t, "field"); {
		case p.Field >= record.NumFields || p.Field <= record.Received || p.Field == record.Raw:
		case p.Field == record.Absence:
			r.SetAbsent(rapid.SampledFrom([]string{"requester", "executor"}).Draw(t, "name"), genText(t, "reason"))
		case p.Field == record.Provenance:
		case p.Field == record.Delegations:
			if rapid.IntRange(0, 3).Draw(t, "hostile") == 0 {
				r.Add(p.Field, rapid.SampledFrom([]string{
					`{"principal":12}`, `{"principal":null,"scopes":["alice",null,true]}`, `{"principal":{"a":"bob"}}`, `{"scopes":[`,
					`{"principal":"\u0061lice","x":"\ud83d\ude00 \ud83d \u212a"}`, `[]`,
				}).Draw(t, "object"), "")
				continue
			}
			r.AddDelegation(record.Delegation{Principal: genText(t, "p"), Scopes: []string{genText(t, "s")}, Expires: "2026-11-23T14:02:07Z"}, "")
		case p.Field == record.Links:
			r.AddLink(record.Link{To: r.Seq, Method: "credential", Candidates: []uint64{1, 7}})
		case p.Field.IsList():
			r.Add(p.Field, genText(t, "element"), "")
		default:
			r.Set(p.Field, genText(t, "value"), "/x")
		}
	}
	return r
}

// genValue writes a value for a path in some way, often one that r has.
func genValue(t *rapid.T, r *record.Record, p record.Path) string {
	if has := valuesOf(r, p); len(has) > 0 && rapid.IntRange(0, 2).Draw(t, "from the record") > 0 {
		v := strings.ToValidUTF8(rapid.SampledFrom(has).Draw(t, "value"), "")
		runes := []rune(v)
		from := rapid.IntRange(0, len(runes)).Draw(t, "from")
		to := rapid.IntRange(from, len(runes)).Draw(t, "to")
		var b strings.Builder
		writePattern(&b, foldString(string(runes[:from])))
		b.WriteString(rapid.SampledFrom([]string{"*", strings.Repeat("?", to-from), "*?*"}).Draw(t, "wild"))
		writePattern(&b, foldString(string(runes[to:])))
		return rapid.SampledFrom([]string{Quote(v), Quote(v), ">=" + Quote(v), "<" + Quote(v), b.String()}).Draw(t, "as")
	}
	bare := func() string {
		var b strings.Builder
		for i := 0; i < 5; i++ {
			switch rapid.IntRange(0, 6).Draw(t, "part") {
			case 0:
				b.WriteString("*")
			case 1:
				b.WriteString("?")
			case 2, 3, 4:
				writePattern(&b, foldString(strings.ToValidUTF8(rapid.SampledFrom(pieces).Draw(t, "piece"), "")))
			default:
				if b.Len() > 0 {
					i = 5
				}
			}
		}
		if b.Len() == 0 {
			return "kv"
		}
		return b.String()
	}
	quoted := func() string {
		if s := strings.ToValidUTF8(genText(t, "text"), ""); s != "" {
			return Quote(s)
		}
		return `"7"`
	}
	switch rapid.IntRange(0, 6).Draw(t, "form") {
	case 0:
		return bare()
	case 1:
		return rapid.SampledFrom([]string{">", ">=", "<", "<="}).Draw(t, "cmp") + quoted()
	case 2:
		return "[" + quoted() + " TO " + quoted() + "}"
	case 3:
		return rapid.SampledFrom([]string{"now-30m", ">now-1h", "[2026-11-23 TO *]", ">=2026", "<10", "10.0.0.0/8", "[7 TO 403]", "*", "gap", "record"}).Draw(t, "fixed")
	}
	return quoted()
}

func genQuery(t *rapid.T, r *record.Record, depth int) string {
	kind := rapid.IntRange(0, 9).Draw(t, "node")
	if depth == 0 && kind > 5 {
		kind -= 5
	}
	sub := func() string { return genQuery(t, r, depth-1) }
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"*", "alice", "d*y", "kv", "z?ë", "secret/*", "k*vin", "7"}).Draw(t, "word")
	case 1:
		var all []string
		m := r.MessageText()
		eachWord(m, func(w string) { all = append(all, w) })
		r.Lists(func(_ record.Field, v, _ string) bool {
			eachWord(v, func(w string) { all = append(all, w) })
			return true
		})
		if len(all) > 0 && rapid.Bool().Draw(t, "of the record") {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "word")
			return Quote(strings.Join(all[i:min(len(all), i+rapid.IntRange(1, 3).Draw(t, "n"))], " "))
		}
		return Quote(strings.ToValidUTF8(genText(t, "phrase"), ""))
	case 2, 3, 4:
		p := rapid.SampledFrom(someFields).Draw(t, "path")
		for range 6 { // rather one that is there
			if len(valuesOf(r, p)) == 0 {
				p = rapid.SampledFrom(someFields).Draw(t, "path")
			}
		}
		return rapid.SampledFrom([]string{"", "", "", "sealed."}).Draw(t, "of") + pathName(p) + ":" + genValue(t, r, p)
	case 5:
		return "_exists_:" + pathName(rapid.SampledFrom(someFields).Draw(t, "path"))
	case 6:
		return sub() + " " + sub()
	case 7:
		return sub() + " OR " + sub()
	case 8:
		return "-(" + sub() + ")"
	}
	return "(" + sub() + ") AND NOT " + sub()
}

func pathName(p record.Path) string { return name(&node{path: p}) }

// TestProperties: for random queries and records, every way to evaluate agrees,
// the plan finds what matches, and the canonical form is equal.
func TestProperties(t *testing.T) {
	matched, parsed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := row{eff: genRecord(t)}
		text := genQuery(t, r.eff, 3)
		q, err := ParseAt(text, now)
		if err != nil {
			checkError(t, text, err)
			return
		}
		parsed++
		if rapid.Bool().Draw(t, "amended") {
			r.sealed = genRecord(t)
		}
		checkConsistent(t, q, r)
		if q.Match(r.eff, r.sealed) {
			matched++
		}
	})
	t.Logf("%d parsed, %d matched", parsed, matched)
	if parsed == 0 || matched == 0 {
		t.Errorf("%d queries parsed, %d matched: the generator is worth nothing", parsed, matched)
	}
}

func checkError(t rapid.TB, text string, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Msg == "" || e.Pos < 0 || e.Len < 0 || e.Pos+e.Len > len(text) {
		t.Fatalf("%q: error %#v", text, err)
	}
}

// TestPhraseAgainstSplitting compares the search in place with splitting the
// text into words first, written without anything of the package.
func TestPhraseAgainstSplitting(t *testing.T) {
	split := func(s string) []string {
		words := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for i, w := range words {
			words[i] = strings.Map(unicode.ToLower, w)
		}
		return words
	}
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		text, want := genText(t, "text"), split(genText(t, "phrase"))
		if all := split(text); len(all) > 0 && rapid.Bool().Draw(t, "from the text") {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "first")
			want = all[i : i+rapid.IntRange(1, len(all)-i).Draw(t, "count")]
		}
		if len(want) == 0 {
			return
		}
		expect := false
		for i, words := 0, split(text); i+len(want) <= len(words); i++ {
			expect = expect || slices.Equal(words[i:i+len(want)], want)
		}
		p := &phrase{elems: want}
		p.prepare()
		if got := p.match(text); got != expect {
			t.Fatalf("%q in %q: %v, want %v", want, text, got, expect)
		}
		if expect {
			hits++
		}
		i := 0
		Words(text, nil, func(w []byte) {
			if full := split(text)[i]; string(w) != full && (len(full) <= 64 || !strings.HasPrefix(full, string(w)) || len(w) < 61) {
				t.Fatalf("Words of %q: %q, want %q", text, w, full)
			}
			i++
		})
		if i != len(split(text)) {
			t.Fatalf("Words of %q: %d, want %d", text, i, len(split(text)))
		}
	})
	if hits == 0 {
		t.Error("no phrase was ever found")
	}
}

// TestLowerOfObjects: members that are not strings have no words in the index.
func TestLowerOfObjects(t *testing.T) {
	r := &record.Record{Kind: record.KindRecord}
	r.Add(record.Delegations, `{"principal":true,"scopes":[null,false,12,{"a":1}],"audience":"\u0061lice\tone"}`, "")
	for _, text := range []string{
		"delegation.principal:true", "delegation.principal:tru?", "delegation.scopes:false", "delegation.scopes:f*e",
		"delegation.scopes:12", "delegation.scopes:1?", `delegation.scopes:"{\"a\":1}"`, "delegation.audience:alice*", `delegation.audience:"alice	one"`,
	} {
		q := mustParse(t, text)
		if !q.Match(r, nil) {
			t.Errorf("%s does not match", text)
		}
		checkConsistent(t, q, row{eff: r})
	}
}

func TestPlanBounds(t *testing.T) {
	const early, late = "1960-01-01", "2026-01-01"
	a, _ := record.ParseTime(early + "T00:00:00Z")
	b, _ := record.ParseTime(late + "T00:00:00Z")
	for _, c := range []struct {
		query    string
		op       Op
		from, to int64
	}{
		{"time:>=" + early, Time, a, 0},
		{"time:<" + late, Time, 0, b},
		{"time:[" + early + " TO " + late + "}", Time, a, b},
		{"alice time:>=" + early + " time:<" + late, And, a, b},
		{"time:>=" + early + " OR time:<" + late, Or, 0, 0},
		{"time:<" + late + " OR time:>=" + early, Or, 0, 0},
		{"time:[" + early + " TO " + late + "} OR time:<" + early, Or, 0, b},
		{"time:[" + early + " TO " + late + "} OR time:>=" + late, Or, a, 0},
		{"time:[" + late + " TO 2027} OR time:[" + early + " TO " + late + "}", Or, a, b + 365*24*int64(time.Hour)},
		{"time:>=" + late + " time:<" + early, None, 0, 0},
		{"time:>=" + late + " alice OR time:>=" + early + " bob", Or, a, 0},
		{"received:>=" + late, All, 0, 0},
		{"NOT time:>=" + late, All, 0, 0},
		{"NOT *", None, 0, 0},
		{"alice NOT bob", Or, 0, 0},
		{"alice OR NOT bob", All, 0, 0},
		{"req5512", Ident, 0, 0},
		{"target.id:x", Ident, 0, 0},
		{"action.tool:k*", TermRange, 0, 0},
		{"_exists_:action.tool", TermRange, 0, 0},
		{"sealed.action.tool:kv", All, 0, 0},
		{"kind:gap", All, 0, 0},
		{"target.id:prod/*", Term, 0, 0},
		{"message:*prod*", All, 0, 0},
	} {
		p := mustParse(t, c.query).Lower()
		if p.Op != c.op || p.From != c.from || p.To != c.to {
			t.Errorf("%s: op %d from %d to %d, want op %d from %d to %d", c.query, p.Op, p.From, p.To, c.op, c.from, c.to)
		}
	}
}

// TestLowerKeepsTheKeys: keys are a contract with whoever fills the index.
func TestLowerKeepsTheKeys(t *testing.T) {
	for _, c := range [][2]string{
		{"message:Alice", "walice"},
		{"target.id:alice/*", "oalice"},
		{"req5512", "req5512"},
		{"action.tool:KV", "k@Ykv"},
		{"action.tool:K*", "k@Yk"},
		{"requester.id:*", "k@Q"},
		{"target.id:Secret/A", "secret/a"},
		{"id:01934C1E-7B2A-7CC3-9A55-00000000BC53", "01934c1e-7b2a-7cc3-9a55-00000000bc53"},
	} {
		if p := mustParse(t, c[0]).Lower(); string(p.Key) != c[1] {
			t.Errorf("%s: key %q, want %q", c[0], p.Key, c[1])
		}
	}
	for w, want := range map[string]bool{
		"5512": false, "a5512": false, "aa5512": true, "123456": true, "deploy": false, "deadbeef": false,
		"deadbeefdeadbeef": true, "deadbeefdeadbeeg": false, "assumerolewithwebidentity": false,
		strings.Repeat("z", 39): false, strings.Repeat("z", 40): true, "версия٣٤": false, "": false,
	} {
		if IsIdent([]byte(w)) != want {
			t.Errorf("IsIdent(%q) is not %v", w, want)
		}
	}
}

func TestFieldsAndHighlight(t *testing.T) {
	q := mustParse(t, `"Restart nginx" deplo* requester.id:Alice@Example.com -carol (kind:gap OR sealed.risk:high OR seq:7 OR requester.id:bob)`)
	var fields []string
	for _, p := range q.Fields() {
		fields = append(fields, pathName(p))
	}
	if got := strings.Join(fields, " "); got != "requester.id kind risk seq" {
		t.Errorf("Fields: %s", got)
	}
	if got := strings.Join(q.HighlightWords(), " "); got != "restart nginx alice example com high 7 bob" {
		t.Errorf("HighlightWords: %s", got)
	}
	if !q.HasText() || !q.UsesSealed() || mustParse(t, "risk:high").HasText() || mustParse(t, "risk:high").UsesSealed() {
		t.Error("HasText or UsesSealed")
	}
	for text, want := range map[string]KindSet{
		"alice": 1<<1 | 1<<3, "kind:gap": 1 << 9, "kind:(gap OR key) alice": 1<<8 | 1<<9, "kind:* alice": allKinds, "kind:gap kind:key": 0,
	} {
		if got := mustParse(t, text).Kinds(); got != want {
			t.Errorf("Kinds of %s: %b", text, got)
		}
	}
}

func TestParseUsesTheClock(t *testing.T) {
	q, err := Parse("time:>now-1m")
	if err != nil {
		t.Fatal(err)
	}
	r := &record.Record{Kind: record.KindRecord, Time: time.Now().UnixNano()}
	if !q.Match(r, nil) {
		t.Error("now is not now")
	}
	if r.Time -= int64(2 * time.Minute); q.Match(r, nil) {
		t.Error("two minutes ago is within the last one")
	}
}

// TestFoldIsIdempotent: keys fold what is folded already, and folding must not
// turn a word into something else.
func TestFoldIsIdempotent(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		l := unicode.ToLower(r)
		if unicode.ToLower(l) != l || isWordRune(r) != isWordRune(l) {
			t.Errorf("%U lowers to %U", r, l)
		}
	}
}

// valuesOf are the values at a path, as a reader of records knows them.
func valuesOf(r *record.Record, p record.Path) []string {
	switch p.Field {
	case KindField:
		return []string{kindName(r.Kind)}
	case SeqField:
		return []string{uintText(r.Seq)}
	}
	return r.Values(p, nil)
}
