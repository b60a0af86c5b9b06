"""The provider's simulator: the Kling motion-control API restated from its documents, on loopback.

What lives here answers as the provider is documented to answer, bills what the provider would bill, and
misbehaves on request. It imports nothing else of `reconciler`: a client and a simulator that shared a table of
codes or a token library could agree on the same mistake, and no test would notice. For the same reason it checks
tokens by hand and keeps a ledger apart from its tasks.

Facts carry a grade: *documented* by the provider, *observed* on the live API, or *unknown*; what is unknown is a
field of `Unknowns` and can turn out either way. Nothing here is reached from the internet, nothing here
reaches out to it (callbacks go to loopback addresses only), and no real key belongs into it.

`config` what can be chosen, `unknowns` what nobody knows, `knobs` both by name; `clock` virtual time; `errors` the
table of codes; `tokens` who asks; `checks` and `probe` what a create must be like; `tasks` the table of tasks;
`ledger` the money; `views` and `forms` how a task looks, `lookup` whether it is seen; `provider` the verbs over all of
them; `agenda` and `callbacks` who is told of changes; `render` and `studio` the films; `signing` and `media` what the
other port serves; `faults`, `plans` and `delivery` how answers go wrong, `wire` and `connection` how that reaches the
socket; `app`, `control` and `results` the routes; `server` the two ports.
"""
