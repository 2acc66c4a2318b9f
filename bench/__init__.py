"""make bench: the gateway beside Envoy, a raw Python floor and its own upstream, measured in one run."""
