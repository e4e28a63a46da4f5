package attribution

// privileged are the formats of privileged access management and secrets managers that speak its formats.
func privileged() []format {
	return []format{
		cyberArkJSON(),
		cyberArkCloud(),
		cyberArkText(),
		delineaJSON(),
		delineaText(),
		beyondTrustJSON(),
		beyondTrustText(),
		conjurJSON(),
		conjurAudit(),
		wallix(),
	}
}
