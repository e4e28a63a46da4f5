package attribution

// google are the formats of Google clouds and the services that companies buy: code hosting, chat.
func google() []format {
	return []format{}
}
