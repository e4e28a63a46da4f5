package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"
)

// Generate writes the lines of about the given number of chains. The same seed
// gives the same stream.
func Generate(seed uint64, chains int) Stream {
	w := newWorld(seed)
	for w.chains < chains {
		total := 0
		for i := range scenarios {
			total += scenarios[i].weight
		}
		n := w.IntN(total)
		for i := range scenarios {
			if n -= scenarios[i].weight; n < 0 {
				w.play(&scenarios[i])
				break
			}
		}
	}
	return w.stream(seed)
}

// GenerateOnly writes the lines of one scenario, for looking at it alone. It
// returns an empty stream when there is none of that name.
func GenerateOnly(seed uint64, name string, times int) Stream {
	w := newWorld(seed)
	for i := range scenarios {
		if scenarios[i].name == name {
			for range times {
				w.play(&scenarios[i])
			}
		}
	}
	return w.stream(seed)
}

// Names lists the scenarios.
func Names() []string {
	var out []string
	for i := range scenarios {
		out = append(out, scenarios[i].name)
	}
	return out
}

// scenario is one kind of thing that happens.
type scenario struct {
	name   string
	weight int
	play   func(s *story)
}

// scenarios is the table of all kinds.
var scenarios = []scenario{
	{"simple_call", 8, simpleCall},
	{"delegation_narrowing", 3, delegationNarrowing},
	{"delegation_widening", 2, delegationWidening},
	{"okta_exchange", 3, oktaExchange},
	{"vault_exchange", 3, vaultExchange},
	{"handoff_task", 3, handoffTask},
	{"handoff_lost", 2, handoffLost},
	{"retries", 3, retries},
	{"denied_then_allowed", 3, deniedThenAllowed},
	{"credential_life", 3, credentialLife},
	{"credential_after_revoke", 2, credentialAfterRevoke},
	{"credential_expired", 2, credentialExpired},
	{"credential_unseen", 2, credentialUnseen},
	{"self_approval", 2, selfApproval},
	{"agent_approval", 1, agentApproval},
	{"approved", 2, approvedByOther},
	{"pam_wrapper_only", 3, pamWrapperOnly},
	{"pam_inside", 4, pamInside},
	{"shared_account", 2, sharedAccount},
	{"same_host_other_account", 2, sameHostOtherAccount},
	{"k8s_impersonation", 2, k8sImpersonation},
	{"k8s_impersonation_no_actor", 1, k8sImpersonationNoActor},
	{"gcp_delegation", 3, gcpDelegation},
	{"gcp_redacted", 1, gcpRedacted},
	{"okta_support", 1, oktaSupport},
	{"lost_middle", 3, lostMiddle},
	{"late_parent", 3, lateParent},
	{"duplicates", 2, duplicates},
	{"tenants_collide", 3, tenantsCollide},
	{"sts_chain_identity", 3, stsChainIdentity},
	{"sts_chain_nameless", 2, stsChainNameless},
	{"irsa", 2, irsa},
	{"eks", 3, eks},
	{"entra_graph", 3, entraGraph},
	{"github_token", 3, githubToken},
	{"spire_envoy", 3, spireEnvoy},
	{"otel_children_first", 4, otelChildrenFirst},
	{"gateway_vault_k8s", 3, gatewayVaultK8s},
	{"coding_agent", 4, codingAgent},
	{"coding_agent_half", 2, codingAgentHalf},
	{"everything", 2, everything},
	{"cron", 3, cron},
	{"shared_gateway", 3, sharedGateway},
	{"open_listener", 3, openListener},
	{"forged_header", 2, forgedHeader},
	{"detected_source", 2, detectedSource},
	{"opa_decision", 2, opaDecision},
	{"background", 6, background},
	{"aws_service", 2, awsService},
	{"one_after_the_other", 2, oneAfterTheOther},
	{"zero_trace", 2, zeroTrace},
	{"claimed_requester", 2, claimedRequester},
	{"key_for_another", 2, keyForAnother},
	{"machine_token", 2, machineToken},
	{"ssh_certificate", 2, sshCertificate},
	{"tenants_collide_on_host", 2, tenantsCollideOnHost},
	{"pam_end_lost", 2, pamEndLost},
	{"entra_agent", 2, entraAgent},
}

// begin is when the first chain starts.
var begin = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// world is a company or two: people, agents, sources, and what happens.
type world struct {
	*rand.Rand
	tenants []*tenant
	sources []Source
	skew    []time.Duration
	now     time.Time
	chains  int
	events  []*event
	hosts   int
}

type tenant struct {
	w       *world
	name    string
	domain  string // of mail addresses and hosts
	account string // AWS account
	entra   string // directory id
	people  []*person
	agents  []*agent
	source  map[string]int
}

// person is one human with all names that products give them.
type person struct {
	login, mail, full string
	okta, entra, kc   string // ids in the identity providers
	store, entity     string // in AWS IAM Identity Center, in Vault
	github, account   string // GitHub login, telemetry's account uuid
	aliases           []string
}

// agent is a piece of software that acts.
type agent struct {
	name    string
	client  string // OAuth client id
	spiffe  string
	sa      string // Kubernetes service account
	role    string // name of its AWS role
	gcp     string // service account
	aliases []string
}

var firstNames = [...]string{
	"alice", "bob", "carol", "dan", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim", "liam", "maya", "niko", "olga", "pat",
	"quinn", "rosa", "sven", "tara", "ursula", "victor", "wanda", "xena", "yuri", "zoe", "amir", "bea", "chen", "dina", "emil", "fay",
}

var lastNames = [...]string{"Hart", "Meyer", "Okafor", "Silva", "Tanaka", "Novak", "Rossi", "Dubois"}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0x5ce7a810)), now: begin}
	w.addTenant("acme", "example.com", "123456789012")
	w.addTenant("globex", "example.org", "210987654321")
	return w
}

// products are the sources that each tenant has: the format's name, and whether
// lines come with a syslog header.
var products = []struct {
	format string
	syslog bool
	skewed bool // its clock may be wrong
}{
	{"cloudtrail", false, false},
	{"k8s_audit", false, true},
	{"vault", true, true},
	{"teleport", false, false},
	{"okta", false, false},
	{"entra", false, false},
	{"gcp_audit", false, false},
	{"github", false, false},
	{"cyberark", true, false},
	{"wallix", true, false},
	{"beyondtrust", true, false},
	{"otel_genai", false, true},
	{"agent_otel", false, true},
	{"mcp_gateway", false, true},
	{"keycloak", false, true},
	{"auditd", true, false},
	{"sshd", true, false},
	{"sudo", true, false},
	{"spire", false, true},
	{"envoy", false, true},
	{"opa", false, true},
	{"azure_keyvault", false, false},
}

// Sources beside those of the products.
const (
	openListener514 = "open"      // anybody can send to it
	collector       = "collector" // trusted transport, format detected
)

func (w *world) addTenant(name, domain, account string) {
	t := &tenant{w: w, name: name, domain: domain, account: account, entra: w.uuid(), source: map[string]int{}}
	for i, first := range firstNames {
		p := &person{
			login: first, mail: first + "@" + domain, full: title(first) + " " + lastNames[i%len(lastNames)],
			okta: "00u" + w.text(17), entra: w.uuid(), kc: w.uuid(), store: w.uuid(), entity: w.uuid(), github: first + "-" + name, account: w.uuid(),
		}
		p.aliases = []string{
			p.mail, p.login, p.full, p.okta, p.entra, p.kc, p.store, p.entity, p.github, p.account, "oidc-" + p.mail, "userpass-" + p.login,
			fmt.Sprintf("%s (%s)", p.full, p.mail), "user:" + p.mail, p.full + " (" + p.login + ")",
		}
		t.people = append(t.people, p)
	}
	for i := range 24 {
		kind := [...]string{"deploy", "triage", "report", "research", "migrate", "review"}[i%6]
		n := fmt.Sprintf("%s-agent-%d", kind, i/6+1)
		a := &agent{
			name: n, client: n + "-client", spiffe: "spiffe://" + domain + "/agent/" + n, sa: "system:serviceaccount:agents:" + n,
			role: title(kind) + fmt.Sprintf("Agent%d", i/6+1), gcp: n + "@" + name + "-prod.iam.gserviceaccount.com",
		}
		a.aliases = []string{a.name, a.client, a.spiffe, a.sa, a.role, a.gcp, "kubernetes-agents-" + n, "arn:aws:iam::" + account + ":role/" + a.role}
		t.agents = append(t.agents, a)
	}
	add := func(key string, s Source, skewed bool) {
		s.Name, s.Tenant = name+"-"+key, name
		t.source[key] = len(w.sources)
		w.sources = append(w.sources, s)
		d := time.Duration(0)
		if skewed && w.IntN(3) == 0 {
			d = time.Duration(w.IntN(180_000)-90_000) * time.Millisecond
		}
		w.skew = append(w.skew, d)
	}
	for _, p := range products {
		add(p.format, Source{Format: p.format, Trusted: true, AuthoritativeFor: []string{p.format}, Syslog: p.syslog}, p.skewed)
	}
	add(openListener514, Source{Syslog: true}, false)
	add(collector, Source{Trusted: true, Syslog: false}, false)
	w.tenants = append(w.tenants, t)
}

func title(s string) string { return string(s[0]-'a'+'A') + s[1:] }

// play lets one scenario happen and moves the clock on a little, so that
// chains overlap.
func (w *world) play(sc *scenario) {
	w.now = w.now.Add(time.Duration(w.IntN(4000)) * time.Millisecond)
	t := w.tenants[0]
	if w.IntN(4) == 0 {
		t = w.tenants[1]
	}
	s := &story{w: w, t: t, name: sc.name, start: w.now}
	s.newChain()
	sc.play(s)
	s.settle()
}

const (
	digits    = "0123456789"
	hexDigits = "0123456789abcdef"
	upper     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	letters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

func (w *world) pick(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[w.IntN(len(alphabet))]
	}
	return string(b)
}

func (w *world) hex(n int) string  { return w.pick(hexDigits, n) }
func (w *world) text(n int) string { return w.pick(letters, n) }

func (w *world) uuid() string {
	h := w.hex(32)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

// hmac is an HMAC as Vault's audit devices write it.
func (w *world) hmac() string { return "hmac-sha256:" + w.hex(64) }

// key is an AWS access key id: ASIA for a session, AKIA for a user.
func (w *world) key(prefix string) string { return prefix + w.pick(upper, 16) }

func (w *world) ip() string { return fmt.Sprintf("203.0.113.%d", 1+w.IntN(254)) }

func (w *world) inner() string {
	return fmt.Sprintf("10.%d.%d.%d", w.IntN(8), w.IntN(250), 1+w.IntN(250))
}

// host names a host that no other story uses, so that nothing is ambiguous by accident.
func (s *story) host() string {
	s.w.hosts++
	return fmt.Sprintf("%s-%04d.%s", [...]string{"db", "web", "batch", "app"}[s.w.IntN(4)], s.w.hosts, s.t.domain)
}

func sum(s string) (raw [32]byte, hexed string) {
	raw = sha256.Sum256([]byte(s))
	return raw, hex.EncodeToString(raw[:])
}
