package attribution

// amazon are the formats of Amazon Web Services and policy engines.
func amazon() []format {
	return []format{
		cloudTrail(),
		agentCore(),
		opa(),
		openFGA(),
		cedar(),
	}
}
