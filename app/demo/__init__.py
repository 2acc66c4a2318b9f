"""breakwater demo: a gateway, providers that fail, clients that ask, and a view of it all. No key, no network."""
