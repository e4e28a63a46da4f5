package attribution

var auditdGuide = guide{
	userSet: []string{
		"/EXECVE: whoever runs a program chooses its arguments, and so the command line in target.id",
		"/PROCTITLE/proctitle: a process can rewrite its own title",
		"/SYSCALL/comm: a process can rename itself; `exe` it cannot",
		"/PATH/0/name: whoever makes a file chooses its name",
		"/USER_AUTH/acct: anyone who can reach the login service chooses the account to try",
		"/USER_LOGIN/hostname: the name that the client's own DNS gives its address; custody reads `addr` first",
		"/USER_CMD/cmd: whoever may run sudo chooses the command line",
	},
	emit: map[Part]string{
		PartRequester: "`auid`, the login that the kernel keeps through sudo and su; it is set by `pam_loginuid` (in every stack that people log in through), and `--loginuid-immutable` in the rules keeps root from changing it. " +
			"`log_format = ENRICHED` in auditd.conf adds the name as `AUID`; without it requester.id is the number. 4294967295 is nobody: a daemon, or a login under way",
		PartExecutor:   "`euid` (`uid` where there is no `euid`, `acct` of the logins that programs report); the account that sudo changes to is in sudo's own log, not in `USER_CMD`",
		PartTool:       "`exe` and, for programs that start, the arguments in `EXECVE`: `-a always,exit -F arch=b64 -S execve,execveat -F auid>=1000 -F auid!=unset -k exec`",
		PartPermission: "`AVC` names what SELinux or AppArmor was asked for; file permissions are not recorded",
		PartDecision:   "`AVC` records, seccomp and fanotify; for other calls only the kernel's answer (`exit`)",
		PartOutcome:    "`success` and `exit` of calls, `res` of programs; EACCES and EPERM and refused logins are denied, other errors failures",
		PartChain: "the serial number behind the time: chain.request_id is `audit:HOST:SECONDS.MILLIS:SERIAL`, the same for all records of an event, whether they were joined or not; " +
			"`ses` with the host: chain.session_id is `audit-ses:HOST:SES` (session numbers begin again with each boot). Set `name_format = hostname` in auditd.conf so that HOST is in the line (`node=`); else it is the syslog header's host",
	},
}
