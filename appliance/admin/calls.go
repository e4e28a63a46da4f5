package admin

import "custody/index/verify"

// ImportPath is where the server takes imports: the body is the file, the
// parameters are the constants below. The answer is a stream of [ImportProgress],
// one JSON object a line; the last has Done or Error set.
const ImportPath = "/admin/v1/import"

// The parameters of an import, all optional.
const (
	ParamName    = "name"    // the file's path, shown in source.file
	ParamSource  = "source"  // a configured source to take as, else ...
	ParamFormat  = "format"  // pins the format
	ParamMapping = "mapping" // pins a [[mapping]]
	ParamTenant  = "tenant"
	ParamProduct = "product"
	ParamZone    = "zone"
	ParamSyslog  = "syslog" // "true": lines carry a syslog header
)

// ImportProgress is how far an import is.
type ImportProgress struct {
	Read    int64  `json:"read"`    // bytes of the file, compressed or not
	Lines   int64  `json:"lines"`   // lines taken; durable once Done
	Skipped int64  `json:"skipped"` // lines that were there already, known when Done
	Bytes   int64  `json:"bytes"`   // bytes of content taken
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
}

// VerifyPath is where the running server verifies its own folder: the body is a
// [VerifyRequest] as JSON. The answer is a stream of [VerifyProgress], one JSON
// object a line; the last has Report or Error set.
const VerifyPath = "/admin/v1/verify"

// VerifyRequest says what to verify.
type VerifyRequest struct {
	From    uint64   `json:"from,omitempty"`    // first seq whose row is compared: the caller has verified those below
	Search  bool     `json:"search,omitempty"`  // also what searches rely on
	Keys    []string `json:"keys,omitempty"`    // trust root; default: the log's own key
	Against [][]byte `json:"against,omitempty"` // earlier checkpoints
}

// VerifyProgress is how far a verification is, or what it found.
type VerifyProgress struct {
	Part    string          `json:"part,omitempty"`
	Done    uint64          `json:"done,omitempty"`
	Total   uint64          `json:"total,omitempty"`
	Problem *verify.Problem `json:"problem,omitempty"` // found just now; Report repeats it
	Report  *verify.Report  `json:"report,omitempty"`
	Error   string          `json:"error,omitempty"`
}
