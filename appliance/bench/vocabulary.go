package main

import "strings"

// What the events are about. All of it is made up.
var (
	firstNames = strings.Fields(`alice bob carol dan erin frank grace heidi ivan judy karl laura mallory nina oscar peggy quentin rita
		sybil trent ursula victor wendy xavier yvonne zoe amir bianca chen dilara emre fatima goran hana igor jana kofi lena mateo noor`)
	lastNames = strings.Fields(`meyer okafor tanaka silva novak haddad jensen kowalski lindgren marino nakamura osei petrov quinn rossi
		schmidt takeda ueda vargas weber xu yilmaz zhang ahmed baker costa dubois eriksen ferrari garcia hoffmann ito jones keller lopez
		moreau nguyen olsen park ribeiro`)
	agentKinds = strings.Fields(`deploy-agent triage-agent review-agent billing-agent research-agent support-agent data-agent
		incident-agent release-agent migration-agent compliance-agent onboarding-agent procurement-agent scheduling-agent`)
	services = strings.Fields(`payments checkout ledger inventory search identity notifications reporting gateway catalogue fraud
		shipping pricing loyalty analytics scheduler exports imports mailer archive`)
	environments = strings.Fields(`prod prod prod staging dev`)
	runtimes     = strings.Fields(`agent-runtime mcp-gateway tool-proxy orchestrator`)
)

// tool is something agents call, with its operations and the shape of its targets.
type tool struct {
	name, target string
	operations   []string
}

var tools = func() (list []tool) {
	for line := range strings.Lines(`vault.kv secret/data read write list delete
kubernetes.api namespaces get apply patch delete scale
github.pulls repos/acme open merge comment review
sql.query databases select update insert explain
shell.exec hosts run
browser.fetch https://intranet.example.com get post
slack.messages channels post read
jira.issues projects create update transition
s3.objects buckets get put list delete
email.send mailboxes send draft
calendar.events calendars create list cancel
terraform.plan workspaces plan apply
pagerduty.incidents services acknowledge resolve
datadog.metrics dashboards query
snowflake.warehouse schemas select copy
stripe.refunds accounts create read
ldap.directory groups search modify
dns.records zones read upsert
registry.images images push pull
feature.flags flags toggle read
cloud.iam roles attach detach list
queue.messages queues publish consume purge
cache.keys clusters get flush
docs.pages spaces read edit
crm.contacts segments read update export
search.index indexes query reindex
backup.snapshots volumes create restore
certificates.issue domains issue revoke
tickets.support queues reply close
payroll.runs periods read approve
model.inference deployments invoke
files.share drives read upload share
`) {
		f := strings.Fields(line)
		list = append(list, tool{f[0], f[1], f[2:]})
	}
	return list
}()

const (
	vocabularySize = 20_000
	numClauses     = 1500
	plantedWords   = 20   // rare words
	plantedPhrases = 20   // pairs of ordinary words
	plantEvery     = 5000 // each of them stands once in so many events
)

// vocabulary is the words of the messages, most frequent first, and what is
// planted. The planted words are no words of the vocabulary; the phrases are
// pairs of vocabulary words that follow each other nowhere else.
type vocabulary struct {
	words   [vocabularySize]string
	rare    [plantedWords]string
	phrases [plantedPhrases][2]uint16
	// follower[a] is b+1 where (a, b) is a planted phrase: text never has b behind a.
	follower [vocabularySize]uint16
	rank     zipf
	// clauses are what is said again and again, as programs do, in the same words.
	clauses    [numClauses][]uint16
	clauseRank zipf
}

func newVocabulary(seed uint64) *vocabulary {
	v := &vocabulary{rank: newZipf(vocabularySize, 1.05, 2.7)}
	rng := stream(mix(seed ^ 0x766f636162))
	used := make(map[string]bool)
	for _, t := range tools { // a word that a field may hold would make hits of its own
		used[t.name] = true
	}
	fresh := func(syllables int) string {
		for {
			w := syllabic(&rng, syllables)
			if !used[w] && !reserved[w] {
				used[w] = true
				return w
			}
			if rng.oneIn(8) {
				syllables++
			}
		}
	}
	for i := range v.words {
		// Frequent words are short, as in language.
		n := 1 + rng.below(2)
		switch {
		case i >= 4000:
			n = 2 + rng.below(3)
		case i >= 200:
			n = 2 + rng.below(2)
		}
		v.words[i] = fresh(n)
	}
	for i := range v.rare {
		v.rare[i] = fresh(4)
	}
	// Ranks 150 to 350: words that each stand in two to five of a thousand events
	// by themselves, so that hardly any block of events is without both.
	for i := range v.phrases {
		a, b := uint16(150+10*i), uint16(155+10*i)
		v.phrases[i] = [2]uint16{a, b}
		v.follower[a] = b + 1
	}
	v.clauseRank = newZipf(numClauses, 0.8, 5)
	planted := make(map[int]bool)
	for _, p := range v.phrases {
		planted[int(p[0])], planted[int(p[1])] = true, true
	}
	for i := range v.clauses {
		for range 5 + rng.below(6) {
			w := v.rank.draw(&rng)
			for planted[w] {
				w++
			}
			v.clauses[i] = append(v.clauses[i], uint16(w))
		}
	}
	return v
}

// syllabic makes a word that can be pronounced. It holds no digits, so that the
// words of messages are words and never look like identifiers.
func syllabic(rng *stream, syllables int) string {
	const onset, nucleus, coda = "bcdfghjklmnprstvwz", "aeiou", "lmnrst"
	var b []byte
	for range syllables {
		b = append(b, onset[rng.below(len(onset))], nucleus[rng.below(len(nucleus))])
		if rng.oneIn(3) {
			b = append(b, coda[rng.below(len(coda))])
		}
	}
	return string(b)
}

// reserved are the words of the fields, which messages do without.
var reserved = func() map[string]bool {
	m := make(map[string]bool)
	add := func(text string) {
		for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r < 'a' || r > 'z' }) {
			m[w] = true
		}
	}
	for _, list := range [][]string{firstNames, lastNames, agentKinds, services, environments, runtimes} {
		add(strings.Join(list, " "))
	}
	for _, t := range tools {
		add(t.name + " " + t.target + " " + strings.Join(t.operations, " "))
	}
	add("ts level event request id trace span session requester agent tool operation target permission policy decision status " +
		"duration ms message req sess example com info warn error allow deny success failure denied item kind json syslog not or and")
	return m
}()

// The events' own words.
var (
	levels   = [3]string{"info", "warn", "error"}
	statuses = [3]string{"success", "denied", "failure"}
)
