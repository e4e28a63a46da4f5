package attribution

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"custody/ingest/record"
)

func (e *event) m365Target(op string) {
	r := e.r
	const used = "/CopilotEventData/AccessedResources"
	if n := e.find(used); n != 0 && e.doc.kindOf(n) == kindArray && e.doc.first(n) != 0 {
		i := 0
		for c := e.doc.first(n); c != 0 && i < 64; c = e.doc.next(c) {
			at := used + "/" + strconv.Itoa(i)
			if i == 0 {
				e.set(record.TargetID, at+"/Id", at+"/ID", at+"/SiteUrl", at+"/Name")
				e.set(record.TargetName, at+"/Name")
				e.set(record.TargetType, at+"/Type")
				e.set(record.TargetSensitivity, at+"/SensitivityLabelId")
			} else if v, prov := e.somebody(at, "/Id", "/ID", "/SiteUrl", "/Name"); len(v) > 0 {
				e.add(record.Attributes, e.cat([]byte("accessed="), v), prov)
			}
			i++
		}
		return
	}
	if e.has("/CopilotEventData") {
		e.set(record.TargetID, "/CopilotEventData/Contexts/0/Id")
		e.set(record.TargetType, "/CopilotEventData/Contexts/0/Type")
		return
	}
	e.set(record.TargetSensitivity, "/SensitivityLabelId", "/DestinationLabel")
	e.set(record.TargetType, "/ItemType")
	e.set(record.TargetName, "/SourceFileName", "/TeamName", "/ChannelName")
	switch id := e.set(record.TargetID, "/ObjectId"); {
	case id != nil && string(id) != "Not Available":
		if bytes.HasPrefix(id, []byte("http")) && !r.Has(record.TargetType) {
			r.Set(record.TargetType, "url", "")
		}
	case e.set(record.TargetID, "/Item/Id", "/Item/InternetMessageId") != nil:
		r.Set(record.TargetType, "message", "")
		e.set(record.TargetName, "/Item/Subject")
	case e.set(record.TargetID, "/MailboxOwnerUPN", "/MailboxGuid") != nil:
		r.Set(record.TargetType, "mailbox", "")
	case e.set(record.TargetID, "/Target/0/ID", "/TeamGuid", "/ApplicationId") != nil:
	default:
		r.Unset(record.TargetID)
	}
	if v := e.str("/MailboxOwnerUPN"); len(v) > 0 && r.Prov(record.TargetID) != "/MailboxOwnerUPN" {
		e.attr("mailbox", "/MailboxOwnerUPN")
	}
	if strings.HasPrefix(op, "UserLog") {
		r.Set(record.TargetType, "application", "")
	}
}

// m365Outcome reads ResultStatus and reports whether the record is of a sign-in.
// Records of sign-ins say Success of ones that failed: their error number counts.
func (e *event) m365Outcome(op string) (login bool) {
	r := e.r
	lowerOp := strings.ToLower(op)
	login = lowerOp == "userloggedin" || lowerOp == "userloginfailed" || string(e.str("/RecordType")) == "15" || string(e.str("/RecordType")) == "AzureActiveDirectoryStsLogon"
	given := e.str("/ResultStatus")
	status, prov := outcome(given), "/ResultStatus"
	number, numberProv := e.somebody("", "/ErrorNumber", "/ErrorCode")
	e.set(record.OutcomeDetail, "/LogonError", "/ResultStatusDetail", "/Error", "/ErrorMessage")
	if login {
		code, ok := digits(number[:min(len(number), 9)])
		switch {
		case len(number) > 0 && ok && code == 0 && lowerOp != "userloginfailed":
			status, prov = record.Success, numberProv
		case len(number) > 0 && ok && code != 0:
			prov = numberProv
			status = record.Denied
			if entraInterrupts[code] {
				status = record.Unknown
			} else if entraFaults[code] {
				status = record.Failure
			}
		case lowerOp == "userloginfailed":
			status, prov = record.Denied, "/Operation"
		case e.has("/LogonError") && len(e.str("/LogonError")) > 0:
			status, prov = record.Denied, "/LogonError"
		case len(given) == 0 && lowerOp == "userloggedin":
			status, prov = record.Success, "/Operation"
		}
	}
	if len(number) > 0 {
		e.put(record.OutcomeCode, number, numberProv)
	} else {
		e.put(record.OutcomeCode, given, "/ResultStatus")
	}
	if !login {
		switch {
		case len(given) == 0:
			// The log holds what happened; only the name tells of what was stopped.
			status, prov = record.Success, "/Operation"
			if strings.HasSuffix(lowerOp, "blocked") || strings.HasSuffix(lowerOp, "denied") {
				status = record.Denied
			} else if strings.HasSuffix(lowerOp, "failed") {
				status = record.Failure
			}
		case status == record.Failure:
			for _, p := range [...]string{"/LogonError", "/Error", "/ErrorMessage", "/ResultStatusDetail"} {
				if v := e.str(p); foldContains(v, "denied") || foldContains(v, "unauthorized") || foldContains(v, "forbidden") {
					status, prov = record.Denied, p
				}
			}
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.Unknown
	switch {
	case status == record.Denied, status == record.Failure:
		changed = record.No
	case status == record.Success && !login:
		changed, prov = m365Changes(lowerOp), "/Operation"
	case status == record.Success:
		changed = record.Yes // a token came into being
	}
	r.Set(record.EffectChanged, changed, prov)
	return login
}

// m365Changes tells from an operation's name, in lower case, whether it changes something.
func m365Changes(op string) string {
	for _, w := range [...]string{
		"accessed", "viewed", "previewed", "downloaded", "search", "get-", "test-", "list", "mailitemsaccessed", "messageread", "query", "export", "check", "copilotinteraction",
	} {
		if strings.Contains(op, w) {
			if w == "copilotinteraction" {
				return record.Unknown
			}
			return record.No
		}
	}
	for _, w := range [...]string{
		"new-", "set-", "add", "remove", "delete", "update", "create", "upload", "modif", "move", "rename", "send", "copied", "restore", "set", "change", "reset", "enable",
		"disable", "grant", "consent", "install", "shar", "invit", "assign", "recycled", "checkedin", "publish", "import", "revoke", "approve",
	} {
		if strings.Contains(op, w) {
			return record.Yes
		}
	}
	return record.Unknown
}

// m365Modified writes what changed as "Name=value", before and after.
func (e *event) m365Modified() {
	const list, most = "/ModifiedProperties", 4096
	n := e.find(list)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	var before, after []byte
	for c := e.doc.first(n); c != 0 && len(before)+len(after) < most; c = e.doc.next(c) {
		if e.doc.kindOf(c) != kindObject {
			continue
		}
		name := append(bytes.Clone(e.value(e.doc.get(c, "Name"))), '=')
		for _, s := range [...]struct {
			key string
			to  *[]byte
		}{{"OldValue", &before}, {"NewValue", &after}} {
			v := unquoted(bytes.Join(bytes.Fields(e.value(e.doc.get(c, s.key))), []byte(" ")))
			if len(v) > 0 {
				*s.to = joined(*s.to, append(slices.Clip(name), v...), "; ")
			}
		}
	}
	e.put(record.EffectBefore, cut(before, most), list)
	e.put(record.EffectAfter, cut(after, most), list)
}
