package admin

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
