package attribution

// hosts are the formats of hosts, clusters and workload identity.
func hosts() []format {
	return []format{
		k8sAudit(),
		vaultAudit(),
		auditd(),
		auditdJSON(),
		spire(),
		spireText(),
		sshd(),
		sudo(),
		sudoJSON(),
	}
}
