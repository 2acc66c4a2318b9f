"""One policy a file. Each is a ``router.policy.Policy``; ``app/wiring.py`` chooses and orders them."""
