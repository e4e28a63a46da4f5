// Package web is the appliance's HTTP interface: the API under /api/v1, the
// sealed log under /log, health and metrics, and the server-rendered pages.
//
// Log text is written by attackers. Every value reaches a page through
// html/template's escaping after control and direction-changing characters were
// made visible; fragments carry no behaviour (htmx acts only on elements that
// hold the page's nonce, which no log line can know); the content security
// policy allows scripts, styles and connections of this origin only, and
// Trusted Types. Every answer carries the security headers, every request is
// bounded, and all paths but sign-in and health ask for a session or a token.
package web

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"custody/appliance/auth"
	"custody/index"
	"custody/ingest/record"
)

// Ledger is what the interface reads. Safe for concurrent use; every method
// that takes a context returns soon after it ends.
type Ledger interface {
	Search(ctx context.Context, r index.Request) (index.Page, error)
	Count(ctx context.Context, r index.Request) (uint64, error)
	Facets(ctx context.Context, r index.Request, fields []record.Path, top int) ([]index.Facet, error)
	// Histogram divides the range into at most that many buckets; an open end is the data's bound.
	Histogram(ctx context.Context, r index.Request, buckets int) ([]index.Bucket, error)
	// Get finds a record by UUID or decimal seq: as it stands, and as it was sealed.
	Get(ctx context.Context, id string) (eff, sealed *record.Record, st index.SealState, err error)
	// Chain finds the chain of a record by the record's UUID or decimal seq: at least
	// that record, effective, in the order of seqs.
	Chain(ctx context.Context, id string) (*index.Chain, error)
	// Tail calls fn for each record from the seq from on that matches, in order and
	// also those to come, until ctx ends or fn fails. fn loads the record if it wants
	// it. After each stretch, at least once, it calls reached with the seq
	// before which fn had everything. A from beyond the end is the end.
	Tail(ctx context.Context, r index.Request, from uint64, fn func(seq uint64, load index.Load) error, reached func(next uint64)) error
	// Status is the ledger as it is now; Rows is also the seq that the next row gets.
	Status() index.Status
	Sources() []index.SourceStatus
	// Checkpoint is the newest signed checkpoint.
	Checkpoint() ([]byte, error)
	// ReadLog returns the bytes of a file of the log, such as "tile/0/000"; it
	// fails with fs.ErrNotExist or index.ErrNotFound when there is none.
	ReadLog(path string) ([]byte, error)
}

// Listener is one address where events may be sent, for the set-up page and the status.
type Listener struct {
	Name      string `json:"name"`
	Transport string `json:"transport"` // one of the constants of package ingest
	Address   string `json:"address"`   // host:port, or the path of a socket
}

// Check is one reason why the appliance may not be ready.
type Check struct {
	Code string        // such as "store": shown to everybody
	Fail func() string // "" when well, else the detail, shown to the signed-in only
}

// Options of [New]. Ledger and Auth are required.
type Options struct {
	Ledger Ledger
	Auth   *auth.Service
	Now    func() time.Time // default time.Now
	Log    *slog.Logger     // default discards

	Version   string
	Listeners []Listener
	Tails     []string // patterns of the tailed files
	Checks    []Check  // beside the ledger's own

	Metrics     http.Handler // nil: /metrics is not there
	OpenMetrics bool         // /metrics without signing in
	OpenLog     bool         // /log without signing in

	TLS     bool   // the network handler is served over TLS, or behind a proxy that does it
	BaseURL string // of sign-in links, such as "http://127.0.0.1:8484"

	MinFree     uint64        // below it the disk counts as full; default 256 MiB
	IndexLag    uint64        // events that search may be behind; default 1,000,000
	SealLag     time.Duration // sealing may be behind; default 15 s
	Timeout     time.Duration // of one query; default 30 s
	MaxStreams  int           // live tails and exports at once; default 64
	PageRecords int           // rows of a page; default 50

	// Admin are further endpoints of the admin socket, by mux pattern.
	Admin map[string]http.Handler
}

// Server answers HTTP. It starts nothing; its handlers are safe for concurrent use.
type Server struct {
	opt     Options
	ledger  Ledger
	auth    *auth.Service
	log     *slog.Logger
	now     func() time.Time
	pages   map[string]*template.Template
	assets  *assetSet
	streams chan struct{} // a slot per live tail or export
	rates   rateMeter
	network http.Handler
	admin   http.Handler
}

// New validates the options and builds the handlers.
func New(opt Options) (*Server, error) {
	if opt.Ledger == nil || opt.Auth == nil {
		return nil, errors.New("create web server: ledger and auth are required")
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.MinFree == 0 {
		opt.MinFree = 256 << 20
	}
	if opt.IndexLag == 0 {
		opt.IndexLag = 1_000_000
	}
	if opt.SealLag == 0 {
		opt.SealLag = 15 * time.Second
	}
	if opt.Timeout == 0 {
		opt.Timeout = 30 * time.Second
	}
	if opt.MaxStreams == 0 {
		opt.MaxStreams = 64
	}
	if opt.PageRecords == 0 {
		opt.PageRecords = 50
	}
	s := &Server{
		opt: opt, ledger: opt.Ledger, auth: opt.Auth, log: opt.Log, now: opt.Now,
		streams: make(chan struct{}, opt.MaxStreams),
	}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = loadPages(s.assets); err != nil {
		return nil, err
	}
	s.network = s.buildNetwork()
	s.admin = s.buildAdmin()
	return s, nil
}

// Handler serves the network.
func (s *Server) Handler() http.Handler { return s.network }

// AdminHandler serves the admin socket, whose file permissions already say that
// the caller is the local administrator. Never serve it on a network.
func (s *Server) AdminHandler() http.Handler { return s.admin }

// api adds the endpoints that the network and the admin socket share.
func (s *Server) api(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/records", s.limited(s.apiRecords))
	mux.HandleFunc("GET /api/v1/records/{id}", s.limited(s.apiRecord))
	mux.HandleFunc("GET /api/v1/records.ndjson", s.streamed(s.apiNDJSON))
	mux.HandleFunc("GET /api/v1/records.csv", s.streamed(s.apiCSV))
	mux.HandleFunc("GET /api/v1/records.ocsf", s.streamed(s.apiOCSF))
	mux.HandleFunc("GET /api/v1/count", s.limited(s.apiCount))
	mux.HandleFunc("GET /api/v1/facets", s.limited(s.apiFacets))
	mux.HandleFunc("GET /api/v1/histogram", s.limited(s.apiHistogram))
	mux.HandleFunc("GET /api/v1/chains/{id}", s.limited(s.apiChain))
	mux.HandleFunc("GET /api/v1/tail", s.streamed(s.apiTail))
	mux.HandleFunc("GET /api/v1/sources", s.apiSources)
	mux.HandleFunc("GET /api/v1/status", s.apiStatus)
	mux.HandleFunc("GET /log/checkpoint", s.logCheckpoint)
	mux.HandleFunc("GET /log/{path...}", s.logFile)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.opt.Metrics != nil {
		mux.Handle("GET /metrics", s.opt.Metrics)
	}
}

func (s *Server) buildNetwork() http.Handler {
	mux := http.NewServeMux()
	s.api(mux)
	mux.HandleFunc("GET /{$}", s.limited(s.pageSearch))
	mux.HandleFunc("GET /records/{id}", s.limited(s.pageRecord))
	mux.HandleFunc("GET /records/{id}/raw", s.limited(s.rawDownload))
	mux.HandleFunc("GET /chains/{id}", s.limited(s.pageChain))
	mux.HandleFunc("GET /principals", s.limited(s.pagePrincipal))
	mux.HandleFunc("GET /credentials", s.limited(s.pageCredential))
	mux.HandleFunc("GET /sources", s.pageSources)
	mux.HandleFunc("GET /setup", s.limited(s.pageSetup))
	mux.HandleFunc("GET /help", s.pageHelp)
	mux.HandleFunc("GET /signin", s.pageSignin)
	mux.HandleFunc("POST /signin", s.signin)
	mux.HandleFunc("POST /signout", s.signout)
	mux.HandleFunc("GET /ui/overview", s.limited(s.fragOverview))
	mux.HandleFunc("GET /ui/status", s.fragStatus)
	mux.HandleFunc("GET /ui/sources", s.fragSources)
	mux.HandleFunc("GET /ui/first", s.limited(s.fragFirst))
	mux.HandleFunc("GET /ui/tail", s.streamed(s.fragTail))
	mux.Handle("GET /assets/{hash}/{file...}", s.assets)
	h := s.authenticate(s.route(mux))
	h = http.NewCrossOriginProtection().Handler(h)
	return s.outermost(h)
}

func (s *Server) buildAdmin() http.Handler {
	mux := http.NewServeMux()
	s.api(mux)
	mux.HandleFunc("POST /admin/v1/signin-link", s.adminLink)
	mux.HandleFunc("POST /admin/v1/tokens", s.adminNewToken)
	mux.HandleFunc("GET /admin/v1/tokens", s.adminTokens)
	mux.HandleFunc("DELETE /admin/v1/tokens/{id}", s.adminRevoke)
	for pattern, h := range s.opt.Admin {
		mux.Handle(pattern, h)
	}
	local := auth.Principal{Name: "local administrator", Role: auth.Admin, Via: "socket"}
	h := s.route(mux)
	// No body limit here: an import sends whole files, and the caller is trusted.
	return s.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(withPrincipal(r.Context(), local)))
	}))
}
