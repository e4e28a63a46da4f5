package attribution

// microsoft are the formats of Microsoft clouds.
func microsoft() []format {
	return []format{entra(), azureKeyVault(), azureActivity(), m365()}
}
