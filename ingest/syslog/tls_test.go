package syslog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority makes certificates for tests.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca")
	return a
}

// issue writes name.pem and name.key; the first one is the authority's own.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
		tmpl.KeyUsage = x509.KeyUsageCertSign
		parent, signer = tmpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		a.key = k
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pk}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) client(t *testing.T, name string) *tls.Config {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AddCert(a.cert)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.issue(t, name))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, "server")
	cfg, err := ServerTLS(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	s := newLedger()
	sv := start(t, Config{Network: "tls", TLS: cfg}, s)
	c, err := tls.Dial("tcp", sv.Addr().String(), ca.client(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	long := "<34>" + strings.Repeat("x", 60_000)
	write(t, c, "7 <34>one60004 "+long)
	write(t, c, "8 <34>")
	s.untilLines(t, 2)
	write(t, c, "rest")
	if l := s.untilLines(t, 3); string(l[0].Raw) != "<34>one" || string(l[1].Raw) != long || string(l[2].Raw) != "<34>rest" {
		t.Errorf("got %.100q", s.raws())
	}
	if len(s.snap().cursors) != 1 {
		t.Errorf("cursors %v", s.snap().cursors)
	}
	sv.stop()
	if st := sv.Stats(); st.Failed != 0 || len(s.snap().cursors) != 0 {
		t.Errorf("%+v, cursors %v", st, s.snap().cursors)
	}
}

// Who never speaks TLS must not hold its place for ever.
func TestHandshakeTimeout(t *testing.T) {
	cert, key := newAuthority(t).issue(t, "server")
	cfg, err := ServerTLS(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	sv := start(t, Config{Network: "tls", TLS: cfg, HandshakeTimeout: 100 * time.Millisecond}, newLedger())
	c := sv.dial()
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
	sv.untilStats("failed handshake", func(st Stats) bool { return st.Failed == 1 && st.Connections == 0 })
}

func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, "server")
	cfg, err := ServerTLS(cert, key, filepath.Join(ca.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s := newLedger()
	sv := start(t, Config{Network: "tls", TLS: cfg}, s)
	stranger := newAuthority(t).client(t, "stranger")
	stranger.RootCAs = ca.client(t, "").RootCAs
	for _, bad := range []*tls.Config{ca.client(t, ""), stranger} {
		if c, err := tls.Dial("tcp", sv.Addr().String(), bad); err == nil {
			c.Write([]byte("<34>forged\n")) // TLS 1.3 tells the client later
			c.Close()
		}
	}
	sv.untilStats("two refusals", func(st Stats) bool { return st.Failed == 2 })
	c, err := tls.Dial("tcp", sv.Addr().String(), ca.client(t, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	write(t, c, "<34>known\n")
	if l := s.untilLines(t, 1); len(l) != 1 || string(l[0].Raw) != "<34>known" {
		t.Errorf("got %q", s.raws())
	}
}

func TestServerTLSErrors(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, "server")
	for _, files := range [][3]string{{"missing", key, ""}, {cert, cert, ""}, {cert, key, "missing"}, {cert, key, key}} {
		if _, err := ServerTLS(files[0], files[1], files[2]); err == nil {
			t.Errorf("%q accepted", files)
		}
	}
}

func TestConfig(t *testing.T) {
	s := newLedger()
	ok := Config{Network: "tcp", Address: "127.0.0.1:0", Source: sources["tcp"]}
	if _, err := New(ok, s, s, nil, nil); err != nil {
		t.Fatal(err)
	}
	bad := map[string]func(*Config){
		"no source":       func(c *Config) { c.Source = nil },
		"network":         func(c *Config) { c.Network = "sctp" },
		"transport":       func(c *Config) { c.Source = sources["udp"] },
		"no address":      func(c *Config) { c.Address = "" },
		"no port":         func(c *Config) { c.Address = "localhost" },
		"no certificate":  func(c *Config) { c.Network, c.Source = "tls", sources["tls"] },
		"tls over tcp":    func(c *Config) { c.TLS = &tls.Config{} },
		"message":         func(c *Config) { c.MaxMessage = maxMaxMessage + 1 },
		"negative":        func(c *Config) { c.MaxMessage = -1 },
		"connections":     func(c *Config) { c.MaxConnections = -1 },
		"buffers":         func(c *Config) { c.MaxBuffered = 100 },
		"queue":           func(c *Config) { c.Queue = 100 },
		"window":          func(c *Config) { c.Window = -1 },
		"idle":            func(c *Config) { c.IdleTimeout = -1 },
		"mode of no file": func(c *Config) { c.Network, c.Source, c.SocketMode = "unix", sources["unix"], os.ModeDir },
	}
	for name, spoil := range bad {
		cfg := ok
		spoil(&cfg)
		if _, err := New(cfg, s, s, nil, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(ok, nil, s, nil, nil); err == nil {
		t.Error("no sink accepted")
	}
	if _, err := New(ok, s, nil, nil, nil); err == nil {
		t.Error("no cursors accepted")
	}
	l, err := New(ok, s, s, nil, nil)
	if err != nil || l.Addr() != nil {
		t.Fatalf("address %v before Listen, %v", l.Addr(), err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error("Close twice:", err)
		}
	}
	if err := l.Run(t.Context()); err == nil {
		t.Error("a closed listener runs")
	}
}

func tlsClient(t *testing.T, sv *server, ca *authority) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", sv.Addr().String(), ca.client(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
