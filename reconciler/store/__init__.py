"""The state store: records, their history, spending and the objects' bytes. The only importer of sqlmodel.

Its verbs are those of the domain (`record_intent`, `save`, …); row types stay inside. It decides nothing: it
refuses what would break a rule (a second live task, a change from an unexpected status, a cap).
"""
