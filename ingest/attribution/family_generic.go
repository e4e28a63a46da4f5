package attribution

// generic are the formats of what has no product: wire formats and obvious names. It is asked last.
func generic() []format {
	return []format{
		otlp(),
		genericECS(),
		genericJSON(),
		cef(),
		leef(),
		genericPairs(),
		plainSyslog(),
		plainText(),
	}
}
