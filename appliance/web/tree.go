package web

import (
	"encoding/json"
	"strings"
)

const (
	maxTreeNodes = 1500
	maxTreeDepth = 24
	maxTreeInput = 256 << 10
)

// treeNode is one value of an event's JSON, in the order of the event and with
// duplicate keys kept: both can be evidence.
type treeNode struct {
	Key   string
	Named bool   // Key is a member's name
	Kind  string // object, array, string, number, word
	Value string
	Kids  []*treeNode
	Open  bool
}

type treeParser struct {
	dec   *json.Decoder
	nodes int
	cut   bool
}

// parseTree reads an object or array, nil when text is not one. It stops at its
// bounds and says so; whatever was read before an error is shown too.
func parseTree(text string) (root *treeNode, cut bool) {
	at := strings.TrimLeft(text, " \t\r\n")
	if at == "" || (at[0] != '{' && at[0] != '[') || len(at) > maxTreeInput {
		return nil, false
	}
	p := &treeParser{dec: json.NewDecoder(strings.NewReader(at))}
	p.dec.UseNumber()
	root = p.value("", false, 0)
	if root == nil || len(root.Kids) == 0 {
		return nil, false
	}
	return root, p.cut
}

func (p *treeParser) value(key string, named bool, depth int) *treeNode {
	if p.nodes++; p.nodes > maxTreeNodes || depth > maxTreeDepth {
		p.cut = true
		return nil
	}
	tok, err := p.dec.Token()
	if err != nil {
		p.cut = true
		return nil
	}
	n := &treeNode{Key: clipRunes(maxPart, key), Named: named, Open: depth < 2}
	switch t := tok.(type) {
	case json.Delim:
		if t == '}' || t == ']' {
			p.cut = true
			return nil
		}
		n.Kind = "array"
		if t == '{' {
			n.Kind = "object"
		}
		p.kids(n, t == '{', depth)
	case string:
		n.Kind, n.Value = "string", clipRunes(maxValueShown, t)
	case json.Number:
		n.Kind, n.Value = "number", clipRunes(maxPart, t.String())
	case bool:
		n.Kind, n.Value = "word", "false"
		if t {
			n.Value = "true"
		}
	default:
		n.Kind, n.Value = "word", "null"
	}
	return n
}

func (p *treeParser) kids(n *treeNode, object bool, depth int) {
	for i := uint64(0); !p.cut && p.dec.More(); i++ {
		key := uintText(i)
		if object {
			tok, err := p.dec.Token()
			name, ok := tok.(string)
			if err != nil || !ok {
				p.cut = true
				return
			}
			key = name
		}
		if kid := p.value(key, object, depth+1); kid != nil {
			n.Kids = append(n.Kids, kid)
		}
	}
	if p.cut {
		return
	}
	if _, err := p.dec.Token(); err != nil { // the closing bracket
		p.cut = true
	}
}
