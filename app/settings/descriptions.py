"""What each setting is, in a line for editors: what it does, its unit, what leaving it out means."""

from __future__ import annotations

from collections.abc import Mapping

# By section; an override is described by what it overrides.
DESCRIPTIONS: Mapping[str, Mapping[str, str]] = {
    "Settings": {
        "server": "Where the gateway listens, and the limits of a request.",
        "providers": "The upstreams: who can be asked.",
        "routes": "The models that clients can ask for, and the targets that serve each.",
        "defaults": "Timeouts, retries and policies of every route; each can be set again in a route, most in a target too.",
        "shedding": "How much may be in flight in all, and who waits when that is reached.",
        "admin": "The admin API and the dashboard.",
        "telemetry": "What is logged and kept.",
        "passthrough": "Other paths of a provider's API that are sent on as they are. Off if left out.",
        "chaos": "What faults that are injected on purpose may do.",
        "seed": "With the request id, decides which target a request gets.",
    },
    "ServerSettings": {
        "host": "Address to listen on. Loopback only, until there is authentication.",
        "port": "Port of the API; 0 is any free one.",
        "metrics_port": "Port that serves the metrics by themselves; 0 is any free one, null is none.",
        "admin_port": "Port of the admin API and the dashboard; 0 is any free one, null is none.",
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
        "hedge": "A second attempt beside one that says nothing; the first content wins. Off if left out.",
        "mirror": "Copies of some requests to another target, whose answers nobody sees. Off if left out.",
        "experiments": "Arms of providers that requests are dealt to, the same session always to the same.",
        "timeouts": "Instead of the defaults' timeouts.",
        "retry": "Instead of the defaults' retries.",
        "breaker": "Instead of the defaults' breaker.",
        "concurrency": "Instead of the defaults' limits.",
        "throttle": "Instead of the defaults' throttle.",
        "probing": "Instead of the defaults' probes.",
    },
    "TargetSettings": {
        "provider": "The name of a provider.",
        "model": "The provider's own name for the model. Left out: the name that the client asked for.",
        "weight": "Its share among the targets of its tier; 0 is reached by a pin only.",
        "tier": "Tried only when the targets of all lower tiers cannot serve.",
        "price": "What it costs, for the strategy `cost`.",
        "timeouts": "Instead of the route's timeouts; `total` belongs to the route.",
        "breaker": "Instead of the route's breaker; `max_ejected` belongs to the route.",
        "concurrency": "Instead of the route's limits.",
        "throttle": "Instead of the route's throttle.",
        "probing": "Instead of the route's probes.",
    },
    "PriceSettings": {
        "input": "USD for a million tokens of prompts.",
        "output": "USD for a million tokens of answers.",
    },
    "HedgeSettings": {
        "after": "Seconds without content, or a quantile of the target's own times to first token: p50 to p99.9.",
        "max_share": "The share of the route's calls that may be hedged, 0 to 1.",
    },
    "MirrorSettings": {
        "provider": "The name of a provider.",
        "model": "The provider's own name for the model. Left out: the name that the client asked for.",
        "share": "The share of the route's calls that are copied, 0 to 1.",
    },
    "ExperimentSettings": {
        "name": "As in X-Experiment: <name>=<arm>: 1 to 64 of A-Z a-z 0-9 . _ -",
        "arms": "The first is the control. Their shares are 1 together.",
        "salt": "Another salt deals everyone anew.",
        "unit": "What is dealt to an arm: a session, or each request by itself.",
        "failover": "Whether other targets may serve what an arm cannot; its figures are then not its own.",
    },
    "ArmSettings": {
        "name": "As in X-Experiment: <name>=<arm>: 1 to 64 of A-Z a-z 0-9 . _ -",
        "providers": "Providers with a target in the route, in the order to try them.",
        "share": "The share of sessions or requests, 0 to 1 in steps of 0.0001; 0 is reached by the header only.",
    },
    "DefaultsSettings": {
        "timeouts": "How long each phase of a call may take.",
        "retry": "How often a call is tried.",
        "breaker": "When a target is left alone, and for how long.",
        "concurrency": "How much a target may do at once.",
        "throttle": "Turn away from a target the share that it turns away itself.",
        "probing": "Ask an upstream cheaply how it is.",
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
        "budget": "How many retries first attempts pay for, by target.",
        "concurrency": "How many retries may run at once, by route.",
        "throttle": "Stop retries of a target while its calls fail, besides the budgets or instead of them.",
        "dont_retry": "No retries while they make it worse.",
    },
    "BackoffSettings": {
        "base": "Seconds; the first pause is drawn between 0 and this, and doubles with each try.",
        "throttle_base": "Seconds; instead of `base` after the target said that it is asked too much.",
        "cap": "Seconds that a pause lasts at most.",
    },
    "RetryBudgetSettings": {
        "enabled": "Whether there is a budget.",
        "ratio": "Retries for each first attempt, 0 to 1.",
        "min_per_second": "Retries a second beyond that.",
        "ttl": "Seconds after which what was paid in or out is forgotten, 1 to 60.",
        "burst": "Retries that are there from the start, before any first attempt has paid.",
    },
    "RetryConcurrencySettings": {
        "enabled": "Whether there is a limit.",
        "share": "Retries at once, as a share of the attempts in flight, 0 to 1.",
        "min": "Retries at once that are allowed in any case.",
    },
    "RetryThrottleSettings": {
        "enabled": "Whether failures stop retries.",
        "max_tokens": "Tokens at the start and at most, up to 1000; a failure takes one, and half of them must be left.",
        "token_ratio": "Tokens that a success brings back, 0 to 1.",
    },
    "DontRetrySettings": {
        "enabled": "Whether a route stops retrying for 10 s when retries are a large share of it and most fails."
    },
    "BreakerSettings": {
        "enabled": "Whether a target is left alone for what it does: by its breaker, or since it refuses our key or asks us to wait.",
        "window": "Seconds that the rates look back, up to 3600.",
        "min_calls": "Calls in the window below which the rates say nothing.",
        "failure_rate": "The share of failed calls at which it opens, 0 to 1.",
        "consecutive": "Failures in a row at which it opens, whatever the rates.",
        "slow_rate": "The share of slow calls at which it opens, 0 to 1.",
        "slow_first_token": "Seconds to the first token from which a call is slow.",
        "open_base": "Seconds that it stays open the first time; each further opening in a row adds as many.",
        "open_max": "Seconds that it stays open at most, before up to half as long again by chance.",
        "half_open": "Calls that are let through after that, to decide whether it closes.",
        "max_ejected": "The share of a route's targets that may be open at once, 0 to 1; one may always be.",
    },
    "ConcurrencySettings": {
        "enabled": "Whether there is a limit.",
        "algorithm": "aimd learns from overload, gradient from the time to first token. auto: gradient for vllm and llamacpp, else aimd.",
        "initial": "Requests of typical size at once, to begin with. Left out: none until the first overload, or 20.",
        "min": "The limit never falls below this many requests.",
        "max": "The limit never grows beyond this many requests.",
    },
    "ThrottleSettings": {
        "enabled": "Whether calls are turned away.",
        "window": "Seconds that it looks back, up to 3600.",
        "threshold": "The share of calls that must not meet overload, 0 to 1.",
        "max_rejection": "The share of calls that is turned away at most, between 0 and 1.",
        "min_per_second": "Calls a second below which nothing is turned away.",
    },
    "ProbingSettings": {
        "enabled": "Whether upstreams are asked.",
        "timeout": "Seconds for a probe.",
        "idle": "Also ask a target that has had no traffic for so many seconds. Left out: never.",
    },
    "SheddingSettings": {
        "enabled": "Whether calls are turned away when there is too much.",
        "max_tokens_in_flight": "Tokens that all calls together may hold: input + 2 x expected output.",
        "queue": "Who waits for room.",
    },
    "QueueSettings": {
        "length": "Calls that wait at most; 0 is none.",
        "timeout": "Seconds that a call waits at most.",
    },
    "AdminSettings": {
        "token": "What the admin API asks for. Take it from the environment: ${NAME}. Left out: one is made at each start.",
    },
    "TelemetrySettings": {
        "log_level": "The least severe level that is logged.",
        "access_log": "One line for each request.",
        "stream_usage": "Ask upstreams to count the tokens of every stream. Who did not ask for the count does not see it.",
        "decisions": "How many of the latest calls are kept with what was decided about them; 0 is none.",
    },
    "ChaosSettings": {
        "enabled": "Whether faults can be injected at all.",
        "max_active": "Attempts that may be under a fault at once: a share of those that run, up to 1, or a number.",
        "max_ttl": "Seconds that a fault may act at most.",
        "header_faults": "Whether a request may bring its own fault, in X-Fault, signed with the admin token.",
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
