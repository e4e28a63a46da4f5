package attribution

// telemetry are the formats of telemetry of agents, gateways and proxies.
func telemetry() []format {
	return []format{
		mcpJSON(),
		mcpPairs(),
		agentOTel(),
		otelGenAI(),
		ocsf(),
		envoyJSON(),
		envoyText(),
	}
}
