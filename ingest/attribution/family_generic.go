package attribution

// generic are the formats of what has no product: wire formats and obvious names. It is asked last.
func generic() []format {
	return []format{
		otlp(),
		genericECS(),
		xmlAsJSON(),
		genericJSON(),
		cef(),
		leef(),
		xmlLine(),
		genericPairs(),
		plainSyslog(),
		plainText(),
	}
}
