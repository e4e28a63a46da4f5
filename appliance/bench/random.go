package main

import (
	"math"
	"math/bits"
)

// golden is the increment of SplitMix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, OOPSLA 2014).
const golden = 0x9e3779b97f4a7c15

// mix is the finaliser of SplitMix64, a bijection on 64 bits.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unmix is the inverse of mix.
func unmix(x uint64) uint64 {
	x = (x ^ x>>31 ^ x>>62) * 0x319642b2d24d8ec3
	x = (x ^ x>>27 ^ x>>54) * 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}

// stream is a SplitMix64 generator. Its value is its state: a copy goes its own way.
type stream uint64

func (s *stream) next() uint64 {
	*s += golden
	return mix(uint64(*s))
}

// below draws from 0 to n-1.
func (s *stream) below(n int) int {
	hi, _ := bits.Mul64(s.next(), uint64(n))
	return int(hi)
}

// oneIn is true once in n draws.
func (s *stream) oneIn(n int) bool { return s.below(n) == 0 }

// zipf draws ranks with P(rank k) ~ 1/(k+shift)^exponent from a table of
// equally likely entries, so that a draw is one look-up.
type zipf []uint16

const zipfBits = 20

func newZipf(n int, exponent, shift float64) zipf {
	if n < 1 || n > 1<<16 {
		panic("zipf: from 1 to 65536 ranks")
	}
	sum := 0.0
	weight := func(k int) float64 { return math.Pow(float64(k)+shift, -exponent) }
	for k := range n {
		sum += weight(k)
	}
	z := make(zipf, 1<<zipfBits)
	rank, upto := 0, weight(0)/sum
	for i := range z {
		for (float64(i)+0.5)/float64(len(z)) > upto && rank < n-1 {
			rank++
			upto += weight(rank) / sum
		}
		z[i] = uint16(rank)
	}
	return z
}

func (z zipf) draw(s *stream) int { return int(z[s.next()>>(64-zipfBits)]) }
