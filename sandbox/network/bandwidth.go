package network

import (
	"fmt"
	"math/big"
	"strings"
)

// The least and the most that Kubernetes allows in a bandwidth annotation.
const (
	minBitRate = 1e3
	maxBitRate = 1e15
)

// suffixes are the units of a Kubernetes quantity. The longer ones come first.
var suffixes = []struct {
	unit  string
	scale *big.Rat
}{
	{"Ki", pow2(10)}, {"Mi", pow2(20)}, {"Gi", pow2(30)},
	{"Ti", pow2(40)}, {"Pi", pow2(50)}, {"Ei", pow2(60)},
	{"n", pow10(-9)}, {"u", pow10(-6)}, {"m", pow10(-3)},
	{"k", pow10(3)}, {"M", pow10(6)}, {"G", pow10(9)},
	{"T", pow10(12)}, {"P", pow10(15)}, {"E", pow10(18)},
}

func pow2(exp uint) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), exp))
}

func pow10(exp int64) *big.Rat {
	abs := exp
	if abs < 0 {
		abs = -abs
	}
	r := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(abs), nil))
	if exp < 0 {
		r.Inv(r)
	}
	return r
}

// parseBitRate reads a Kubernetes quantity of bits a second, such as 10M, and
// rounds it up.
//
// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
func parseBitRate(s string) (uint64, error) {
	number, scale := strings.TrimSpace(s), pow10(0)
	for _, suffix := range suffixes {
		if rest, ok := strings.CutSuffix(number, suffix.unit); ok {
			number, scale = rest, suffix.scale
			break
		}
	}
	rate, ok := parseNumber(number)
	if !ok {
		return 0, fmt.Errorf("%q is no quantity: write a number of bits a second, such as 10M", s)
	}
	rate.Mul(rate, scale)
	if rate.Cmp(new(big.Rat).SetInt64(minBitRate)) < 0 || rate.Cmp(new(big.Rat).SetInt64(maxBitRate)) > 0 {
		return 0, fmt.Errorf("%q is not between 1k and 1P bits a second", s)
	}
	q := new(big.Int).Add(rate.Num(), new(big.Int).Sub(rate.Denom(), big.NewInt(1)))
	return q.Quo(q, rate.Denom()).Uint64(), nil
}

// parseNumber takes decimal notation with an optional exponent. It refuses what
// big.Rat would also take: fractions, other bases, and exponents that would
// cost memory.
func parseNumber(s string) (*big.Rat, bool) {
	mantissa, exp, hasExp := strings.Cut(strings.ReplaceAll(s, "E", "e"), "e")
	if mantissa == "" || len(s) > 40 || strings.Trim(mantissa, "+-.0123456789") != "" {
		return nil, false
	}
	if hasExp && (len(exp) == 0 || len(exp) > 3 || strings.Trim(exp, "+-0123456789") != "") {
		return nil, false
	}
	return new(big.Rat).SetString(strings.ReplaceAll(s, "E", "e"))
}
