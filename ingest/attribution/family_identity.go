package attribution

// identity are the formats of identity providers and access planes.
func identity() []format {
	return []format{}
}
