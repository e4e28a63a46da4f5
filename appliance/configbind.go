package appliance

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File      string
	Line, Col int    // from 1; 0 when the problem has no place (a key that is missing altogether)
	Path      string // "syslog[0].listen"; elements count from 0
	Message   string
}

// String is "file:line:column: path: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// ConfigError is a refused configuration, with all its problems in the order of the file.
type ConfigError struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// binder copies a decoded TOML tree into structs and notes every problem, where
// the TOML library would stop at the first.
type binder struct {
	file     string
	places   map[string]position
	problems []Problem
}

// bad notes a problem of the path, placed at it or at its nearest parent that stands in the file.
func (b *binder) bad(path, format string, args ...any) {
	for i := range b.problems {
		if b.problems[i].Path == path {
			return // a value of the wrong type is not also out of range
		}
	}
	p := Problem{File: b.file, Path: path, Message: fmt.Sprintf(format, args...)}
	for at := path; at != ""; at = parentPath(at) {
		if pos, ok := b.places[at]; ok {
			p.Line, p.Col = pos.line, pos.col
			break
		}
	}
	b.problems = append(b.problems, p)
}

func parentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return ""
}

// err returns the problems found, nil when there are none.
func (b *binder) err() error {
	if len(b.problems) == 0 {
		return nil
	}
	sort.SliceStable(b.problems, func(i, j int) bool {
		x, y := b.problems[i], b.problems[j]
		if x.Line != y.Line {
			return x.Line < y.Line
		}
		return x.Col < y.Col
	})
	return &ConfigError{b.problems}
}

// table binds the members of t to the fields of the struct rv.
func (b *binder) table(path string, t map[string]any, rv reflect.Value) {
	fields := tomlFields(rv.Type())
	keys := make([]string, 0, len(t))
	for k := range t {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		at := join(path, k)
		index, ok := fields[k]
		if !ok {
			b.unknown(at, k, fields)
			continue
		}
		b.value(at, t[k], rv.FieldByIndex(index))
	}
}

func (b *binder) unknown(path, key string, fields map[string][]int) {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	if s := nearest(key, names); s != "" {
		b.bad(path, "unknown key; did you mean %q?", s)
		return
	}
	sort.Strings(names)
	b.bad(path, "unknown key; the keys here are %s", strings.Join(names, ", "))
}

// tomlFields maps the TOML names of a struct type to its fields.
func tomlFields(t reflect.Type) map[string][]int {
	out := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		out[name] = f.Index
	}
	return out
}

func (b *binder) value(path string, v any, rv reflect.Value) {
	if rv.Kind() == reflect.Pointer {
		rv.Set(reflect.New(rv.Type().Elem()))
		b.value(path, v, rv.Elem())
		return
	}
	if u, ok := reflect.TypeAssert[toml.Unmarshaler](rv.Addr()); ok {
		if err := u.UnmarshalTOML(v); err != nil {
			b.bad(path, "%v", err)
		}
		return
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](rv.Addr()); ok {
		if s, isText := v.(string); isText {
			if err := u.UnmarshalText([]byte(s)); err != nil {
				b.bad(path, "%v", err)
			}
			return
		}
		if n, isInt := v.(int64); isInt && rv.Kind() == reflect.Int64 {
			if err := u.UnmarshalText([]byte(strconv.FormatInt(n, 10))); err != nil {
				b.bad(path, "%v", err)
			}
			return
		}
		b.bad(path, "want a string, got %s", kindName(v))
		return
	}
	switch rv.Kind() {
	case reflect.Struct:
		t, ok := v.(map[string]any)
		if !ok {
			b.bad(path, "want a table, got %s", kindName(v))
			return
		}
		b.table(path, t, rv)
	case reflect.Slice:
		b.slice(path, v, rv)
	case reflect.Map:
		b.dict(path, v, rv)
	case reflect.Interface:
		rv.Set(reflect.ValueOf(v))
	default:
		b.scalar(path, v, rv)
	}
}

func (b *binder) slice(path string, v any, rv reflect.Value) {
	src := reflect.ValueOf(v)
	if src.Kind() != reflect.Slice {
		want := "an array"
		if rv.Type().Elem().Kind() == reflect.Struct {
			want = "an array of tables, [[" + path + "]]"
		}
		b.bad(path, "want %s, got %s", want, kindName(v))
		return
	}
	out := reflect.MakeSlice(rv.Type(), src.Len(), src.Len())
	for i := range src.Len() {
		b.value(path+"["+strconv.Itoa(i)+"]", src.Index(i).Interface(), out.Index(i))
	}
	rv.Set(out)
}

func (b *binder) dict(path string, v any, rv reflect.Value) {
	t, ok := v.(map[string]any)
	if !ok {
		b.bad(path, "want a table, got %s", kindName(v))
		return
	}
	if rv.Type().Elem().Kind() == reflect.String {
		t = flatten(t)
	}
	out := reflect.MakeMapWithSize(rv.Type(), len(t))
	for k, e := range t {
		elem := reflect.New(rv.Type().Elem()).Elem()
		b.value(join(path, k), e, elem)
		out.SetMapIndex(reflect.ValueOf(k).Convert(rv.Type().Key()), elem)
	}
	rv.Set(out)
}

// flatten makes executor.id = "x" mean the same as "executor.id" = "x".
func flatten(t map[string]any) map[string]any {
	out := make(map[string]any, len(t))
	for k, v := range t {
		inner, ok := v.(map[string]any)
		if !ok {
			out[k] = v
			continue
		}
		for ik, iv := range flatten(inner) {
			out[k+"."+ik] = iv
		}
	}
	return out
}

func (b *binder) scalar(path string, v any, rv reflect.Value) {
	switch x := v.(type) {
	case string:
		if rv.Kind() == reflect.String {
			rv.SetString(x)
			return
		}
	case bool:
		if rv.Kind() == reflect.Bool {
			rv.SetBool(x)
			return
		}
	case int64:
		if rv.CanInt() {
			if rv.OverflowInt(x) {
				b.bad(path, "%d is too large", x)
				return
			}
			rv.SetInt(x)
			return
		}
		if rv.CanFloat() {
			rv.SetFloat(float64(x))
			return
		}
	case float64:
		if rv.CanFloat() {
			rv.SetFloat(x)
			return
		}
	}
	b.bad(path, "want %s, got %s", goKind(rv.Kind()), kindName(v))
}

func goKind(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "an integer"
	}
}

func kindName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	default:
		return "an array"
	}
}

// nearest returns the candidate that is most like name, "" when none is near.
func nearest(name string, candidates []string) string {
	best, bestDist := "", 1+len(name)/3
	sort.Strings(candidates)
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), c); d < bestDist || d == bestDist && best == "" {
			best, bestDist = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, substitutions and swaps of neighbours.
func editDistance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, prev, cur := rows[0], rows[1], rows[2]
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], two[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = prev, cur, two
	}
	return rows[1][len(b)]
}
