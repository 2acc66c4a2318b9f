"""What each setting is, in a line for editors: what it does, its unit, what leaving it out means."""

from __future__ import annotations

from collections.abc import Mapping

# By section; an override is described by what it overrides.
DESCRIPTIONS: Mapping[str, Mapping[str, str]] = {
    "Settings": {
        "server": "Where the gateway listens, and the limits of a request.",
        "providers": "The upstreams: who can be asked.",
        "routes": "The models that clients can ask for, and the targets that serve each.",
        "defaults": "Timeouts and retries of every route; each can be set again in a route.",
        "telemetry": "What is logged.",
        "passthrough": "Other paths of a provider's API that are sent on as they are. Off if left out.",
        "seed": "With the request id, decides which target a request gets.",
    },
    "ServerSettings": {
        "host": "Address to listen on. Loopback only, until there is authentication.",
        "port": "Port of the API; 0 is any free one.",
        "metrics_port": "Port that serves the metrics by themselves; 0 is any free one, null is none.",
        "admin_port": "Port of the admin API. Nothing listens there yet.",
        "drain_seconds": "Seconds that running requests may go on after SIGTERM.",
        "max_body_mb": "The largest request body, in megabytes (10^6 bytes).",
        "receive_timeout_s": "Seconds that a whole request body may take to arrive.",
        "send_timeout_s": "Seconds after which a client that accepts no byte is cut off.",
        "trusted_proxies": "Addresses and networks whose X-Forwarded-For is believed.",
    },
    "ProviderSettings": {
        "name": "The provider's name, in routes, pins, logs and metrics: 1 to 64 of A-Z a-z 0-9 . _ -",
        "kind": "How to talk to it.",
    },
    "RouteSettings": {
        "model": 'The public model name; "*" is any that no other route has.',
        "targets": "Who serves it.",
        "strategy": "How a target is chosen within a tier.",
        "timeouts": "Instead of the defaults' timeouts.",
        "retry": "Instead of the defaults' retries.",
    },
    "TargetSettings": {
        "provider": "The name of a provider.",
        "model": "The provider's own name for the model. Left out: the name that the client asked for.",
        "weight": "Its share among the targets of its tier; 0 is reached by a pin only.",
        "tier": "Tried only when the targets of all lower tiers cannot serve.",
        "timeouts": "Instead of the route's timeouts; `total` belongs to the route.",
    },
    "DefaultsSettings": {
        "timeouts": "How long each phase of a call may take.",
        "retry": "How often a call is tried.",
    },
    "TimeoutSettings": {
        "connect": "Seconds to connect to an upstream.",
        "first_token": "Seconds to the first content of a stream.",
        "idle": "Seconds between two contents of a stream.",
        "attempt": "Seconds for one attempt of a request that does not stream.",
        "total": "Seconds for all attempts of a call together.",
    },
    "RetrySettings": {
        "max_attempts": "Attempts of one call, the first included: retries and failovers together.",
        "backoff": "The pause before a target is tried again.",
    },
    "BackoffSettings": {
        "base": "Seconds; the first pause is drawn between 0 and this, and doubles with each try.",
        "cap": "Seconds that a pause lasts at most.",
    },
    "TelemetrySettings": {
        "log_level": "The least severe level that is logged.",
        "access_log": "One line for each request.",
        "stream_usage": "Ask upstreams to count the tokens of every stream. Who did not ask for the count does not see it.",
    },
    "PassthroughSettings": {
        "provider": "The name of the provider that gets them; its kind speaks HTTP.",
        "paths": "Exact, such as /v1/batches, or ending in /* for everything below: /v1/files/*.",
    },
}

# By kind; "http" is for every kind that has such options.
KINDS: Mapping[str, Mapping[str, str]] = {
    "http": {
        "base_url": "Where its API begins; the endpoint's path is added: https://host/v1.",
        "api_key": "Sent as a bearer token. Take it from the environment: ${NAME}, or ${NAME:-} if it may be unset.",
        "headers": "Sent with every request.",
        "network": (
            "public reaches public addresses only, over https; private also loopback and private ones. "
            "Left out: private if the host is a private address or a name of one's own network, else public."
        ),
    },
    "mock": {
        "ttft": "Seconds to the first token: a number, or a distribution.",
        "token_interval": "Seconds between two tokens: a number, or a distribution.",
        "tokens": "Tokens of an answer: a number, or a distribution.",
        "error_rate": "The share of requests that fail, 0 to 1.",
        "error_status": "The status of those, 500 to 599.",
        "capacity": "Requests that it serves at once; beyond, it answers 503. Left out: no limit.",
        "seed": "Another seed, another sequence of chances.",
    },
}
