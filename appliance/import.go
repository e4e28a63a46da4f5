package appliance

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"custody/appliance/admin"
	"custody/index"
	"custody/ingest"
	"custody/ingest/tail"
)

// importer takes files that commands send over the administration socket.
type importer struct {
	cfg      *Config
	ledger   *index.Ledger
	gate     *ingest.Gate
	registry *tail.Registry
	spool    string // folder on the data disk
	clock    func() time.Time
	log      *slog.Logger
}

// tellEvery is how often a waiting command hears of progress.
const tellEvery = 200 * time.Millisecond

// ServeHTTP answers while it reads: see admin.ImportPath.
func (i *importer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	src, err := i.source(params)
	if err != nil {
		refuse(w, err)
		return
	}
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	tell := func(p admin.ImportProgress) {
		// A command that went away ends the request's context; there is nothing to do here.
		_ = enc.Encode(p)
		_ = rc.Flush()
	}
	// The first line sends the header, so that the command does not wait for it.
	tell(admin.ImportProgress{})
	last := i.clock()
	res, err := tail.Import(r.Context(), r.Body, params.Get(admin.ParamName), tail.ImportConfig{
		Source: src, Registry: i.registry, FingerprintKey: i.ledger.FingerprintKey(), SpoolDir: i.spool, Clock: i.clock,
	}, i.gate.Share(), i.ledger, func(p tail.Progress) {
		if now := i.clock(); now.Sub(last) >= tellEvery {
			last = now
			tell(admin.ImportProgress{Read: p.Read, Lines: p.Lines, Bytes: p.Bytes})
		}
	})
	end := admin.ImportProgress{Lines: res.Lines, Skipped: res.Skipped, Bytes: res.Bytes, Done: err == nil}
	if err != nil {
		end.Error = err.Error()
		i.log.Warn("import ended early", "source", src.Name, "lines", res.Lines, "error", err)
	} else {
		i.log.Info("import done", "source", src.Name, "lines", res.Lines, "known_before", res.Skipped)
	}
	tell(end)
}

// source builds the source of an import: a configured one, or one of its own that
// nothing vouches for.
func (i *importer) source(params url.Values) (*ingest.Source, error) {
	src := &ingest.Source{Name: "import", Syslog: params.Get(admin.ParamSyslog) == "true"}
	if name := params.Get(admin.ParamSource); name != "" {
		var err error
		if src, err = i.cfg.Source(name); err != nil {
			return nil, err
		}
	}
	src.Transport = ingest.Import
	err := i.cfg.Pin(src, Pins{
		Format: params.Get(admin.ParamFormat), Mapping: params.Get(admin.ParamMapping), Tenant: params.Get(admin.ParamTenant),
		Product: params.Get(admin.ParamProduct), Zone: params.Get(admin.ParamZone),
	})
	return src, err
}

// refuse answers in the form of every error of the API.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	status := http.StatusBadRequest
	if errors.Is(err, http.ErrNotSupported) {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	body := map[string]any{"error": map[string]string{"code": "bad_parameter", "message": err.Error()}}
	_ = json.NewEncoder(w).Encode(body) // an error means that the command is gone
}
