package verify

import "golang.org/x/mod/sumdb/tlog"

// Tiles hold 256 nodes of a height that is a multiple of 8 (C2SP tlog-tiles).
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// tree is the right edge of an RFC 6962 tree, with the tiles at that edge.
type tree struct {
	edge  []tlog.Hash // complete subtrees, largest first
	size  uint64
	tiles [64 / tileHeight][]byte // of level i+1: the nodes so far of the tile that is not full
	// tile takes the tiles from level 1 on, each when it is complete and those at
	// the right edge at the end. May be nil.
	tile func(level int, n uint64, hashes []byte)
}

func (t *tree) add(leaf tlog.Hash) {
	t.edge = append(t.edge, leaf)
	t.size++
	for height, n := 1, t.size; n%2 == 0; height, n = height+1, n/2 {
		k := len(t.edge)
		t.edge[k-2] = tlog.NodeHash(t.edge[k-2], t.edge[k-1])
		t.edge = t.edge[:k-1]
		if t.tile != nil && height%tileHeight == 0 {
			t.node(height/tileHeight, t.edge[k-2])
		}
	}
}

// node adds a node of height 8 × level to the tile it stands in.
func (t *tree) node(level int, h tlog.Hash) {
	tile := append(t.tiles[level-1], h[:]...)
	if len(tile) == tileWidth*tlog.HashSize {
		t.tile(level, t.nodes(level)/tileWidth-1, tile)
		tile = tile[:0]
	}
	t.tiles[level-1] = tile
}

// nodes is the number of complete nodes that the level has.
func (t *tree) nodes(level int) uint64 { return t.size >> (tileHeight * level) }

// finish gives the tiles at the right edge to tile.
func (t *tree) finish() {
	for i, tile := range t.tiles {
		if len(tile) > 0 {
			t.tile(i+1, t.nodes(i+1)/tileWidth, tile)
		}
	}
}

func (t *tree) root() tlog.Hash {
	if len(t.edge) == 0 {
		return tlog.Hash{}
	}
	r := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		r = tlog.NodeHash(t.edge[i], r)
	}
	return r
}

// tileSpan is the range of entries below a tile of the given width.
func tileSpan(level int, n uint64, width int) (from, to uint64) {
	from = n * tileWidth << (tileHeight * level)
	return from, from + uint64(width)<<(tileHeight*level) - 1
}
